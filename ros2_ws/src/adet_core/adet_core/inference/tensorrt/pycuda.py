# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The GPU through pycuda, which is compiled on the robot and has no CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

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

# CUDA's CU_STREAM_NON_BLOCKING, which pycuda has no name for.
_NON_BLOCKING = 1
_NO_GRAPHS = 'pycuda has none, cuda-python has'


def open_gpu() -> PycudaGpu:
    """The first GPU.

    Raises:
        CudaError: There is none.
        ImportError: The package is not there.
    """
    return PycudaGpu(import_module('pycuda.driver'))


class PycudaGpu(Gpu):
    """See `Gpu`."""

    package, no_graphs = 'pycuda', _NO_GRAPHS

    def __init__(self, api: Any) -> None:
        """Use the first GPU.

        Args:
            api: ``pycuda.driver``.

        Raises:
            CudaError: There is none.
        """
        self._api = api
        with self._errors():
            api.init()
            device = api.Device(0)
            # Shared with other users of the GPU in this process.
            self._context = device.retain_primary_context()
            self.name = device.name()
            self.capability = '{}.{}'.format(*device.compute_capability())

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._api.MemoryError as error:
            raise CudaMemoryError(' '.join(str(error).split())) from None
        except self._api.Error as error:
            raise CudaError(' '.join(str(error).split())) from None

    @contextmanager
    def _current(self) -> Iterator[None]:
        with self._errors():
            self._context.push()
            try:
                yield
            finally:
                self._context.pop()

    def memory(self, size: int) -> Memory:
        """See `Gpu.memory`."""
        return _Memory(self._api, size)

    def pinned(self, size: int, *, mapped: bool = False) -> PinnedMemory:
        """See `Gpu.pinned`."""
        return _PinnedMemory(self._api, size, mapped)

    def stream(self) -> Stream:
        """See `Gpu.stream`."""
        return _Stream(self._api)

    def free_memory(self) -> int:
        """See `Gpu.free_memory`."""
        return int(self._api.mem_get_info()[0])


class _Memory(Memory):
    def __init__(self, api: Any, size: int) -> None:
        self._memory = api.mem_alloc(size)
        self.address = int(self._memory)


class _PinnedMemory(PinnedMemory):
    def __init__(self, api: Any, size: int, mapped: bool) -> None:
        flags = api.host_alloc_flags.DEVICEMAP if mapped else 0
        self.array: HostArray = api.pagelocked_empty(size, np.uint8, mem_flags=flags)
        self.address = int(self.array.base.get_device_pointer()) if mapped else 0  # type: ignore[union-attr]


class _Stream(Stream):
    def __init__(self, api: Any) -> None:
        self._api, self._stream = api, api.Stream(_NON_BLOCKING)
        self.handle = self._stream.handle

    def to_device(self, address: int, array: npt.NDArray[Any]) -> None:
        """See `Stream.to_device`."""
        self._api.memcpy_htod_async(address, array, self._stream)

    def to_host(self, array: npt.NDArray[Any], address: int) -> None:
        """See `Stream.to_host`."""
        self._api.memcpy_dtoh_async(array, address, self._stream)

    def synchronize(self) -> None:
        """See `Stream.synchronize`."""
        self._stream.synchronize()

    def record(self, work: Callable[[], None]) -> CudaGraph:
        """Refuse: see `Gpu.no_graphs`."""
        del work
        raise CudaError(f'CUDA graphs: {_NO_GRAPHS}')
