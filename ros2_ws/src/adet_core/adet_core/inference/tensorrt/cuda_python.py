# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The GPU through cuda-python, NVIDIA's own binding of CUDA's runtime: wheels, no compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import ctypes
from importlib import import_module
from typing import Any
import weakref

import numpy as np
import numpy.typing as npt

from adet_core.inference.tensorrt.gpu import (
    CudaError,
    CudaGraph,
    CudaMemoryError,
    Gpu,
    HostArray,
    Memory,
    PinnedMemory,
    Stream,
)

_DEVICE = 0


def open_gpu() -> CudaPythonGpu:
    """The first GPU.

    Raises:
        CudaError: There is none.
        ImportError: The package is not there.
    """
    # Not an import statement: only machines with a GPU have it.
    return CudaPythonGpu(import_module('cuda.bindings.runtime'))


class _Runtime:
    """CUDA's runtime, whose functions return an error code before their values."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self._memory_errors = {api.cudaError_t.cudaErrorMemoryAllocation}

    def __call__(self, function: str, *arguments: Any) -> Any:
        """Call a function.

        Returns:
            Its value; None if it has none, a tuple if it has several.

        Raises:
            CudaError: It failed.
        """
        code, *values = getattr(self.api, function)(*arguments)
        if code != self.api.cudaError_t.cudaSuccess:
            text = self.api.cudaGetErrorString(code)[1].decode()
            kind = CudaMemoryError if code in self._memory_errors else CudaError
            raise kind(f'{function}: {text}')
        return values[0] if len(values) == 1 else tuple(values) or None

    def quietly(self, function: str, *arguments: Any) -> None:
        """Call a function that gives something back, maybe while the process ends."""
        getattr(self.api, function)(*arguments)


class CudaPythonGpu(Gpu):
    """See `Gpu`."""

    package = 'cuda-python'

    def __init__(self, api: Any) -> None:
        """Use the first GPU.

        Args:
            api: ``cuda.bindings.runtime``.

        Raises:
            CudaError: There is none.
        """
        self._call = _Runtime(api)
        self._call('cudaSetDevice', _DEVICE)
        properties = self._call('cudaGetDeviceProperties', _DEVICE)
        self.name = properties.name.partition(b'\0')[0].decode()
        self.capability = f'{properties.major}.{properties.minor}'

    @contextmanager
    def _current(self) -> Iterator[None]:
        self._call('cudaSetDevice', _DEVICE)
        yield

    def memory(self, size: int) -> Memory:
        """See `Gpu.memory`."""
        return _Memory(self._call, size)

    def pinned(self, size: int, *, mapped: bool = False) -> PinnedMemory:
        """See `Gpu.pinned`."""
        return _PinnedMemory(self._call, size, mapped)

    def stream(self) -> Stream:
        """See `Gpu.stream`."""
        return _Stream(self._call)

    def free_memory(self) -> int:
        """See `Gpu.free_memory`."""
        return int(self._call('cudaMemGetInfo')[0])


class _Memory(Memory):
    def __init__(self, call: _Runtime, size: int) -> None:
        self.address = int(call('cudaMalloc', size))
        weakref.finalize(self, call.quietly, 'cudaFree', self.address)


class _PinnedMemory(PinnedMemory):
    def __init__(self, call: _Runtime, size: int, mapped: bool) -> None:
        flags = call.api.cudaHostAllocMapped if mapped else call.api.cudaHostAllocDefault
        pointer = int(call('cudaHostAlloc', size, flags))
        weakref.finalize(self, call.quietly, 'cudaFreeHost', pointer)
        buffer = (ctypes.c_uint8 * size).from_address(pointer)
        self.array: HostArray = np.ctypeslib.as_array(buffer)
        self.address = int(call('cudaHostGetDevicePointer', pointer, 0)) if mapped else 0


class _Stream(Stream):
    def __init__(self, call: _Runtime) -> None:
        self._call = call
        self.handle = int(call('cudaStreamCreateWithFlags', call.api.cudaStreamNonBlocking))
        weakref.finalize(self, call.quietly, 'cudaStreamDestroy', self.handle)

    def to_device(self, address: int, array: npt.NDArray[Any]) -> None:
        """See `Stream.to_device`."""
        self._copy(address, array.ctypes.data, array.nbytes, 'cudaMemcpyHostToDevice')

    def to_host(self, array: npt.NDArray[Any], address: int) -> None:
        """See `Stream.to_host`."""
        self._copy(array.ctypes.data, address, array.nbytes, 'cudaMemcpyDeviceToHost')

    def _copy(self, target: int, source: int, size: int, kind: str) -> None:
        direction = getattr(self._call.api.cudaMemcpyKind, kind)
        self._call('cudaMemcpyAsync', target, source, size, direction, self.handle)

    def synchronize(self) -> None:
        """See `Stream.synchronize`."""
        self._call('cudaStreamSynchronize', self.handle)

    def record(self, work: Callable[[], None]) -> CudaGraph:
        """See `Stream.record`."""
        # Other threads may take memory meanwhile.
        mode = self._call.api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call('cudaStreamBeginCapture', self.handle, mode)
        try:
            work()
        except BaseException:
            # Or the stream stays as it is, and refuses all further work.
            self._call.quietly('cudaStreamEndCapture', self.handle)
            raise
        return _Graph(self._call, self._call('cudaStreamEndCapture', self.handle), self.handle)


class _Graph(CudaGraph):
    def __init__(self, call: _Runtime, recorded: Any, stream: int) -> None:
        self._call, self._stream = call, stream
        try:
            self._ready = call('cudaGraphInstantiate', recorded, 0)
        finally:
            call.quietly('cudaGraphDestroy', recorded)
        weakref.finalize(self, call.quietly, 'cudaGraphExecDestroy', self._ready)

    def launch(self) -> None:
        """See `CudaGraph.launch`."""
        self._call('cudaGraphLaunch', self._ready, self._stream)
