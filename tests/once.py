# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What takes long is made once, for all processes and runs that test the same code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
import fcntl
from functools import partial
import hashlib
import io
import os
from pathlib import Path
import pickle
import shutil
import sys
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
# Of how many versions of the code what was made is kept.
_KEPT = 3
# Names of what is made from a graph on this machine.
_KEPT_OF_GRAPHS = {'choice', 'inputs', 'reading', 'tiled'}


class Once:
    """Folders that are made by whoever needs them first; the others wait and read them.

    Attributes:
        root: The folder of all of them.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self._folder = folder / _checksum_of_code(folder)
        self._folder.mkdir(exist_ok=True)
        os.utime(self._folder)
        self._before: dict[Path, list[tuple[str, int, int]]] = {}
        for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def __call__(self, name: str, make: Callable[[Path], object]) -> Path:
        """A folder that ``make`` has filled; not to be written to.

        Args:
            name: Of the folder.
            make: Called with an empty folder. Where it fails, the next one tries again.
        """
        name = f'{name}_{_checksum_of_file(make)}'
        folder, done = self._folder / name, self._folder / f'{name}.done'
        with (self._folder / f'{name}.lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
            self._before.setdefault(folder, _state(folder))
        return folder

    def check(self) -> None:
        """Fail if somebody wrote to a folder that all share."""
        for folder, before in self._before.items():
            if before != (after := _state(folder)):
                folder.with_name(f'{folder.name}.done').unlink()
                changed = {name for name, *_ in {*before} ^ {*after}}
                pytest.fail(f'{folder}: a test wrote to {sorted(changed)}, which all tests share')


def _state(folder: Path) -> list[tuple[str, int, int]]:
    # What a machine keeps beside a graph (adet_core.inference.kept) comes with its first use.
    files = (path for path in sorted(folder.rglob('*')) if path.stem not in _KEPT_OF_GRAPHS)
    found = ((path, path.stat()) for path in files if path.is_file())
    return [
        (str(path.relative_to(folder)), status.st_size, status.st_mtime_ns)
        for path, status in found
    ]


def _checksum_of_code(folder: Path) -> str:
    """Of all that decides what is made: sources, versions of libraries, and where it is made."""
    found = hashlib.sha256(f'{folder} {sys.version}'.encode())
    sources = [*ROOT.glob('ros2_ws/src/*/*/**/*.py'), *ROOT.glob('training/**/*.py')]
    shared = (
        ROOT / 'tests' / 'training' / f'{name}.py' for name in ('thin_network', 'tiny_models')
    )
    makers = [*ROOT.glob('tests/**/conftest.py'), *shared]
    for path in [ROOT / 'constraints.txt', Path(__file__), *sorted(sources), *sorted(makers)]:
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def _checksum_of_file(make: Callable[[Path], object]) -> str:
    """Of the file that a function is in: a test's own ones are no part of the code."""
    function: Any = make.func if isinstance(make, partial) else make
    return hashlib.sha256(Path(function.__code__.co_filename).read_bytes()).hexdigest()[:8]


@contextmanager
def graphs_once(once: Once) -> Iterator[None]:
    """Let exports trace each network once: it gives the same graph, in ten seconds.

    Within another one it has nothing to do.
    """
    from adet_training import trace as tracing

    trace = tracing._trace
    if trace.__module__ == __name__:
        yield
        return

    def traced(network: Any, manifest: Any, statistics: Any, *rest: Any) -> bytes:
        home = vars(sys.modules[type(network).__module__])
        # Tests change constants of its module, too.
        constants = {name: value for name, value in home.items() if type(value) in (int, float)}
        key = _key(network, manifest.image, dict(statistics), repr(rest), constants)

        def make(folder: Path) -> None:
            # Tracing leaves marks in a network, parts of which the next graph shares.
            with unmeasured():
                graph = trace(deepcopy(network), manifest, statistics, *rest)
            (folder / 'graph.onnx').write_bytes(graph)

        return (once(f'graph_{key}', make) / 'graph.onnx').read_bytes()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, '_trace', traced)
        yield


@contextmanager
def unmeasured() -> Iterator[None]:
    """Measure no coverage: where libraries are at work it takes two thirds more time."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


class _Pickler(pickle.Pickler):
    """Equal values give equal bytes, in every process."""

    def persistent_id(self, value: Any) -> Any:
        """Tensors by their content, sets in an order."""
        import torch

        if isinstance(value, torch.Tensor):
            array = value.detach().numpy()
            return array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).hexdigest()
        return sorted(map(repr, value)) if isinstance(value, (set, frozenset)) else None


def _key(*values: Any) -> str:
    file = io.BytesIO()
    _Pickler(file).dump(values)
    return hashlib.sha256(file.getvalue()).hexdigest()[:32]
