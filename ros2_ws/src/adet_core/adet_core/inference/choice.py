# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``backend: auto`` on a CPU: what is installed is timed once on the golden images.

Which library is quickest depends on the model and on the CPU, by a factor of two either way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
import platform
from statistics import median
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from adet_core.bundle import Bundle, is_writable, read_precision
from adet_core.cores import usable_cores
from adet_core.errors import BackendError
from adet_core.inference.backend import (
    Backend,
    BackendRequest,
    measured,
    open_ready,
    OpenedBackend,
)
from adet_core.inference.first_use import compare
from adet_core.inference.kept import keep, Kept, load_kept
from adet_core.inference.machine import alone, describe_cpu
from adet_core.inference.onnxruntime import kept_rewrite
from adet_core.inference.session import has_cuda

DEFAULT = 'onnxruntime'
"""What runs where nothing may be measured, and where the others are not quicker."""

_KEPT = 'choice'
_STAGE = 'measuring backends'
# Less is not told from chance.
_GAIN = 0.95
# Of the turns, and after how long no further backend is opened.
_LIMIT_S, _OPENING_S = 3.0, 20.0
_ROUNDS = 3, 15
_NO_TIME = 'no time was left to measure it'
# The threads of a library look for work for a while after a run.
_REST_S = 0.01
_WAIT_S = 20.0
# The others compare themselves with the trained model before anybody may use them.
_UNCHECKED = ('onnxruntime', 'onnxruntime_plain')
_LIBRARIES = {'onnxruntime': ('onnxruntime', 'onnxruntime-gpu'), 'openvino': ('openvino',)}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was measured.

    Attributes:
        backend: The quickest, by its name; the default if none is quicker by a twentieth.
        ms: Median time of one image by backend, in milliseconds.
        left_out: Why others were not measured, by backend.
    """

    backend: str
    ms: Mapping[str, float]
    left_out: Mapping[str, str]

    def __str__(self) -> str:
        """For people."""
        times = ', '.join(f'{name} {value:.3g} ms' for name, value in self.ms.items())
        others = ''.join(f'; not {name}: {reason}' for name, reason in self.left_out.items())
        return f'measured here: {times}{others}'


def open_quickest(request: BackendRequest) -> OpenedBackend:
    """Open the backend for this CPU: as measured before, or measured now.

    It is not measured, and the default opened, where only one is installed, where nothing may be
    built, or where the result could not be kept.

    Raises:
        BackendError: None can be used; says why.
        BundleError: A file of the bundle is missing or damaged.
    """
    if has_cuda():
        return _open_default(request, '')
    identity = _identity(request)
    choice = _kept_choice(request, identity)
    if choice is None and request.prefer in measured():
        return OpenedBackend(open_ready(request.prefer, request), '', request.prefer)
    if choice is None:
        return _open_measured(request, identity)
    return _open_chosen(request, choice)


def _open_chosen(request: BackendRequest, choice: Choice) -> OpenedBackend:
    try:
        return OpenedBackend(open_ready(choice.backend, request), str(choice), choice.backend)
    except BackendError as error:
        return _open_default(request, f'not {choice.backend}, the quickest: {error}')


def _open_measured(request: BackendRequest, identity: Mapping[str, object]) -> OpenedBackend:
    """Measure where that can be done, else open the default and say why."""
    bundle = request.bundle
    if not request.build:
        return _open_default(request, 'not measured: nothing may be built here')
    if not is_writable(bundle):
        return _open_default(request, f'not measured: {bundle.folder}/engine cannot be written')
    names = _candidates(request)
    if len(names) == 1:
        return _open_default(request, '')
    with alone(_WAIT_S) as problem:
        # Another process may just have measured the same.
        choice = _kept_choice(request, identity)
        if choice is None and not problem:
            return _measure(names, request, identity)
    if choice is None:
        return _open_default(request, f'not measured: {problem}')
    return _open_chosen(request, choice)


def last_choice(bundle: Bundle) -> Choice | None:
    """What was measured last on this machine, with whatever settings; None if nothing was."""
    return _choice(load_kept(bundle, _KEPT, None))


def _kept_choice(request: BackendRequest, identity: Mapping[str, object]) -> Choice | None:
    return _choice(load_kept(request.bundle, _KEPT, identity))


def _choice(kept: Kept | None) -> Choice | None:
    return Choice(**kept.details) if kept and kept.details['backend'] in measured() else None


def _open_default(request: BackendRequest, reason: str) -> OpenedBackend:
    return OpenedBackend(open_ready(DEFAULT, request), reason, DEFAULT)


def _candidates(request: BackendRequest) -> list[str]:
    """What may be the quickest here, the default first."""
    absent = set()
    if platform.machine() != 'aarch64':
        absent.add('onnxruntime_bf16')
    if kept_rewrite(request) is request.graph.onnx:
        # The same graph twice.
        absent.add('onnxruntime_plain')
    names = [name for name in measured() if name not in absent and _library(name)]
    if read_precision(request.bundle) != 'fp32':
        # Somebody chose the precision, and OpenVINO would run float16 in float32.
        names = [name for name in names if name in _UNCHECKED]
    return names


def _library(name: str) -> str:
    """The library of a backend with its version; empty if it is not installed."""
    for package in _LIBRARIES[name.partition('_')[0]]:
        try:
            return f'{package} {version(package)}'
        except PackageNotFoundError:
            continue
    return 'onnxruntime of the system' if name.startswith(DEFAULT) else ''


def _identity(request: BackendRequest) -> dict[str, Any]:
    """What the speed depends on."""
    return {
        'graph_sha256': request.graph.sha256,
        # A bank that grew a little is no other one.
        'statistics': request.bundle.statistics_bytes.bit_length(),
        'libraries': sorted({_library(name) for name in measured()}),
        'threads': request.threads,
        'cores': usable_cores(),
        **describe_cpu(),
    }


def _measure(
    names: Sequence[str], request: BackendRequest, identity: Mapping[str, object]
) -> OpenedBackend:
    """Open all, time them, and keep the quickest."""
    end = time.monotonic() + _OPENING_S
    opened: dict[str, Backend] = {}
    left_out: dict[str, str] = {}
    for number, name in enumerate(names):
        request.progress(_STAGE, number, len(names))
        if opened and time.monotonic() > end:
            left_out[name] = _NO_TIME
            continue
        try:
            opened[name] = _open_compared(name, request)
        except BackendError as error:
            left_out[name] = str(error)
    if not opened:
        raise BackendError('; '.join(left_out.values()))
    times = time_in_turns(opened, request.bundle.golden().images)
    request.progress(_STAGE, len(names), len(names))
    choice = Choice(
        backend=quickest(times),
        ms={name: round(median(own) * 1e3, 3) for name, own in times.items()},
        left_out=left_out,
    )
    told = str(choice)
    try:
        # A machine that was so busy is measured again at the next start.
        if _NO_TIME not in left_out.values():
            keep(request.bundle, _KEPT, identity, Kept(asdict(choice)))
    except BackendError as error:
        told += f'; this cannot be kept: {error}'
    return OpenedBackend(opened[choice.backend], told, choice.backend)


def _open_compared(name: str, request: BackendRequest) -> Backend:
    """A backend that predicts all golden images as the trained model does."""
    backend = open_ready(name, request)
    if name in _UNCHECKED:
        precision = read_precision(request.bundle)
        remedy = 'export the bundle again'
        compare(backend, request.bundle, request.graph, precision, name, remedy)
    return backend


def time_in_turns(
    backends: Mapping[str, Backend], images: npt.NDArray[np.uint8]
) -> dict[str, list[float]]:
    """Time backends, one image each in turns, for three seconds, but three turns.

    Args:
        backends: With statistics bound, by name.
        images: uint8 ``(K, H, W, 3)``.

    Returns:
        Seconds of one image by name.

    Raises:
        BackendError: Inference failed.
    """
    end = time.monotonic() + _LIMIT_S
    times: dict[str, list[float]] = {name: [] for name in backends}
    least, most = _ROUNDS
    for number in range(most):
        if number >= least and time.monotonic() > end:
            break
        image = images[number % len(images)][None]
        for name, backend in backends.items():
            time.sleep(_REST_S)
            start = time.perf_counter()
            backend.run(image)
            times[name].append(time.perf_counter() - start)
    return times


def quickest(times: Mapping[str, list[float]]) -> str:
    """The quickest; the first, unless another one is quicker in most turns by a twentieth."""
    first, own = next(iter(times.items()))
    # Neighbours in time are slowed alike.
    ratios = {name: float(np.median(np.divide(one, own))) for name, one in times.items()}
    best = min(ratios, key=lambda name: ratios[name])
    return best if ratios[best] < _GAIN else first
