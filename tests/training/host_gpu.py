# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A GPU that is none: its memory is the host's, and ONNX Runtime runs the graph of an engine.

Engines are really built, by TensorRT for RTX. What runs them has the same calls as TensorRT and
pycuda, and insists on what those insist on: a context that is current in the thread, work that is
only done when the stream is waited for, and memory that is given back inside of the context.
"""

from __future__ import annotations

from collections.abc import Callable
import ctypes
import threading
from typing import Any

import numpy as np
import onnxruntime

from adet_core.inference.backend import IMAGE_INPUT


class Error(Exception):
    """As pycuda's."""


class MemoryError(Error):  # noqa: A001 - as pycuda calls it
    """As pycuda's."""


class HostCuda:
    """What the runtime uses of ``pycuda.driver`` and of a context.

    Attributes:
        limit: Bytes of device memory; more cannot be had.
        used: Bytes that are taken.
        lost: What every wait for the device fails with, once it is lost.
    """

    Error, MemoryError = Error, MemoryError

    def __init__(self) -> None:
        self.limit, self.used, self.lost = 1 << 40, 0, ''
        self.streams: dict[int, Stream] = {}
        self._depth = threading.local()

    def push(self) -> None:
        self._depth.now = getattr(self._depth, 'now', 0) + 1

    def pop(self) -> None:
        self.check()
        self._depth.now -= 1

    def check(self) -> None:
        if not getattr(self._depth, 'now', 0):
            raise Error('no context is current in this thread')

    def mem_alloc(self, size: int) -> Memory:
        self.check()
        if self.used + size > self.limit:
            raise MemoryError('cuMemAlloc failed: out of memory')
        return Memory(self, size)

    def to_device(self, array: np.ndarray) -> Memory:
        memory = self.mem_alloc(array.nbytes)
        ctypes.memmove(int(memory), array.ctypes.data, array.nbytes)
        return memory

    def pagelocked_empty(self, size: int, kind: Any) -> np.ndarray:
        self.check()
        return np.empty(size, kind)

    def Stream(self) -> Stream:  # noqa: N802 - as pycuda calls it
        self.check()
        return Stream(self)

    def memcpy_htod_async(self, device: Memory, host: np.ndarray, stream: Any) -> None:
        assert host.nbytes <= device.size
        stream.queue(lambda: ctypes.memmove(int(device), host.ctypes.data, host.nbytes))

    def memcpy_dtoh_async(self, host: np.ndarray, device: Memory, stream: Any) -> None:
        assert host.nbytes <= device.size
        stream.queue(lambda: ctypes.memmove(host.ctypes.data, int(device), host.nbytes))


class Memory:
    """Of the device."""

    def __init__(self, cuda: HostCuda, size: int) -> None:
        self.size, self._cuda, self._data = size, cuda, np.full(size, 0xAA, np.uint8)
        cuda.used += size

    def __int__(self) -> int:
        return self._data.ctypes.data

    def __del__(self) -> None:
        # Outside of the context it is lost, as with pycuda.
        if getattr(self._cuda._depth, 'now', 0):
            self._cuda.used -= self.size


class Stream:
    """Does nothing until it is waited for."""

    def __init__(self, cuda: HostCuda) -> None:
        self.handle = id(self)
        self._cuda, self._work = cuda, []
        cuda.streams[self.handle] = self

    def queue(self, work: Callable[[], object]) -> None:
        self._cuda.check()
        self._work.append(work)

    def synchronize(self) -> None:
        self._cuda.check()
        if self._cuda.lost:
            raise Error(self._cuda.lost)
        for work in self._work:
            work()
        self._work.clear()


class HostEngine:
    """A deserialised engine; its profile is what the build was told."""

    def __init__(self, cuda: HostCuda, graph: bytes, ranges: dict[str, Any]) -> None:
        self.cuda, self.ranges = cuda, ranges
        self.session = onnxruntime.InferenceSession(graph, providers=['CPUExecutionProvider'])

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        assert profile == 0
        return self.ranges[name]

    def create_execution_context(self) -> HostContext:
        self.cuda.check()
        return HostContext(self)


class HostContext:
    """An execution context."""

    def __init__(self, engine: HostEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._places: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._engine.ranges[name]
        fits = all(a <= n <= b for a, n, b in zip(least, shape, most, strict=True))
        self._shapes[name] = tuple(shape)
        return fits

    def set_tensor_address(self, name: str, place: int) -> bool:
        assert place % 4 == 0
        self._places[name] = place
        return True

    def execute_async_v3(self, handle: int) -> bool:
        shapes, places = dict(self._shapes), dict(self._places)
        self._engine.cuda.streams[handle].queue(lambda: self._run(shapes, places))
        return True

    def _run(self, shapes: dict[str, tuple[int, ...]], places: dict[str, int]) -> None:
        session = self._engine.session
        given = {}
        for one in session.get_inputs():
            kind = np.uint8 if one.name == IMAGE_INPUT else np.float32
            array = np.empty(shapes[one.name], kind)
            ctypes.memmove(array.ctypes.data, places[one.name], array.nbytes)
            given[one.name] = array
        names = [one.name for one in session.get_outputs()]
        for name, array in zip(names, session.run(names, given), strict=True):
            assert array.dtype == np.float32
            ctypes.memmove(places[name], np.ascontiguousarray(array).ctypes.data, array.nbytes)


class HostTensorRt:
    """TensorRT for RTX, but for the runtime."""

    def __init__(self, api: Any, cuda: HostCuda) -> None:
        self._api, self._cuda = api, cuda
        self.built: dict[bytes, tuple[bytes, dict[str, Any]]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    def Runtime(self, log: Any) -> HostTensorRt:  # noqa: N802 - as TensorRT calls it
        assert log is not None
        return self

    def deserialize_cuda_engine(self, plan: bytes) -> HostEngine | None:
        self._cuda.check()
        return HostEngine(self._cuda, *self.built[plan]) if plan in self.built else None
