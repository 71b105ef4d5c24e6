# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The threads of a run have one core each, none that belongs to somebody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import threading
from typing import Any

import builders
from builders import make_graph, SIZE
import numpy as np
import pytest

from adet_core import cores
from adet_core.bundle import ExportedGraph
from adet_core.inference import session
from adet_core.inference.onnxruntime import OnnxRuntimeBackend

pytestmark = pytest.mark.skipif(
    not hasattr(os, 'sched_setaffinity'), reason='the system has no affinity of threads'
)
IMAGE = np.zeros((1, SIZE, SIZE, 3), np.uint8)


def usable() -> set[int]:
    return os.sched_getaffinity(0)


def elsewhere(work: Callable[[], Any]) -> None:
    """Work in a thread, whose affinity does not outlive it."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


@contextmanager
def new_threads() -> Iterator[dict[str, set[int]]]:
    """Which threads the block leaves, and where they may run."""
    tasks = Path('/proc/self/task')
    before = {task.name for task in tasks.iterdir()}
    found: dict[str, set[int]] = {}
    yield found
    for name in {task.name for task in tasks.iterdir()} - before:
        found[name] = os.sched_getaffinity(int(name))


def topology(folder: Path, siblings: dict[int, str]) -> str:
    """What Linux says of processors."""
    for number, text in siblings.items():
        (folder / f'cpu{number}').write_text(text + '\n')
    return f'{folder}/cpu{{}}'


@pytest.mark.parametrize(
    ('siblings', 'may_use', 'expected'),
    [
        ({0: '0', 1: '1'}, {0, 1}, [[0], [1]]),
        ({0: '0,2', 1: '1,3', 2: '0,2', 3: '1,3'}, {0, 1, 2, 3}, [[0, 2], [1, 3]]),
        ({0: '0,2', 1: '1,3', 2: '0,2', 3: '1,3'}, {1, 2, 3}, [[1, 3], [2]]),
        ({}, {0, 5}, [[0], [5]]),
    ],
)
def test_a_core_has_the_processors_that_this_process_may_use(
    siblings: dict[int, str],
    may_use: set[int],
    expected: list[list[int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cores, '_TOPOLOGY', topology(tmp_path, siblings))
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: may_use)
    assert cores.physical_cores() == expected


@pytest.fixture
def others_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else this machine does."""
    monkeypatch.setattr(cores.CallersCore, '_others_are_busy', lambda _: True)


@pytest.mark.usefixtures('others_are_busy')
def test_a_caller_is_kept_on_a_core_only_within_the_block() -> None:
    before = usable()
    core = cores.CallersCore([max(before)])
    with core.kept():
        assert usable() == {max(before)}
    assert usable() == before
    with pytest.raises(KeyError), core.kept():
        raise KeyError
    assert usable() == before
    for anywhere in ([], [4095]):
        with cores.CallersCore(anywhere).kept():
            assert usable() == before
    assert usable() == before


@pytest.mark.skipif(len(usable()) < 2, reason='there is one processor')
@pytest.mark.usefixtures('others_are_busy')
def test_whoever_moves_the_caller_has_the_last_word() -> None:
    first, second = sorted(usable())[:2]
    core = cores.CallersCore([first])

    def work() -> None:
        with core.kept():
            os.sched_setaffinity(0, {second})
        assert usable() == {second}
        with core.kept():
            assert usable() == {second}
        assert usable() == {second}

    elsewhere(work)


def test_a_caller_is_kept_while_other_processes_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    before = usable()
    taken, now = [0.1, 0.6, 0.0], [0.0]

    class Watch:
        def taken(self) -> float:
            return taken.pop(0)

    monkeypatch.setattr(cores, 'IdleCores', Watch)
    monkeypatch.setattr('adet_core.cores.time.monotonic', lambda: now[0])
    core = cores.CallersCore([max(before)])
    kept = []
    # It looks twice a second.
    for seconds in (0.1, 0.6, 0.7, 1.2, 1.3, 1.8):
        now[0] = seconds
        with core.kept():
            kept.append(usable() == {max(before)})
    alone = len(before) == 1
    assert kept == [alone, alone, alone, True, True, alone]
    assert usable() == before


def test_a_session_uses_no_core_that_its_process_may_not_use() -> None:
    allowed = {max(usable())}

    def work() -> None:
        os.sched_setaffinity(0, allowed)
        with new_threads() as found:
            opened = session.open_session(make_graph(), threads=0)
        assert opened.get_session_options().intra_op_num_threads == 1
        assert not found

    elsewhere(work)


@pytest.mark.usefixtures('others_are_busy')
@pytest.mark.skipif(len(cores.physical_cores()) < 2, reason='there is one core')
def test_caller_and_threads_of_a_run_have_a_core_each() -> None:
    every = cores.physical_cores()
    before = usable()
    with new_threads() as found:
        backend = OnnxRuntimeBackend(ExportedGraph(make_graph()), threads=0)
    assert sorted(map(sorted, found.values())) == every[1:]
    backend.bind(builders.statistics())
    inner, where = backend._session, []

    class Watched:
        def run_with_iobinding(self, *arguments: Any) -> None:
            where.append(usable())
            inner.run_with_iobinding(*arguments)

    backend._session = Watched()
    backend.run(IMAGE)
    assert where == [set(every[0])]
    assert usable() == before


def test_threads_that_were_asked_for_go_where_there_is_room() -> None:
    with new_threads() as found:
        opened = session.open_session(make_graph(), threads=2)
    assert list(found.values()) == [usable()]
    assert opened.get_session_options().intra_op_num_threads == 2
