# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A GPU that is none: its memory is the host's, and ONNX Runtime runs the graph of an engine.

Engines are really built, by TensorRT for RTX. What runs them has the calls of TensorRT and of
pycuda or cuda-python, and insists on what those insist on: work that is only done when the
stream is waited for, and with pycuda a context that is current in the thread.
"""

from __future__ import annotations

from collections.abc import Callable
import ctypes
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from adet_core.inference.statistics_transform import IMAGE_INPUT


class HostDevice:
    """The device: its memory, and the streams that run on it.

    Attributes:
        limit: Bytes of its memory; more cannot be had.
        used: Bytes that are taken.
        lost: What every wait for the device fails with, once it is lost.
        launches: CUDA graphs that were launched.
    """

    def __init__(self) -> None:
        self.limit, self.used, self.lost, self.launches = 1 << 40, 0, '', 0
        self.streams: dict[int, HostStream] = {}
        self.arrays: dict[int, np.ndarray] = {}
        self._depth = threading.local()

    @property
    def is_current(self) -> bool:
        return bool(getattr(self._depth, 'now', 0))

    def enter(self, change: int) -> None:
        self._depth.now = getattr(self._depth, 'now', 0) + change

    def take(self, size: int) -> int:
        """Addresses of the device are those of arrays, which hold what nobody has written."""
        if self.used + size > self.limit:
            raise MemoryError
        array = np.full(size, 0xAA, np.uint8)
        self.used += size
        self.arrays[array.ctypes.data] = array
        return array.ctypes.data

    def give_back(self, address: int) -> None:
        self.used -= self.arrays.pop(address).nbytes

    def make_stream(self) -> HostStream:
        stream = HostStream(self)
        self.streams[stream.handle] = stream
        return stream


class HostStream:
    """Does nothing until it is waited for."""

    def __init__(self, device: HostDevice) -> None:
        self.handle = id(self)
        self.device = device
        self.work: list[Callable[[], object]] = []
        self.recorded: list[Callable[[], object]] | None = None

    def queue(self, work: Callable[[], object]) -> None:
        (self.work if self.recorded is None else self.recorded).append(work)

    def copy(self, target: int, source: int, size: int) -> None:
        self.queue(lambda: ctypes.memmove(target, source, size))

    def synchronize(self) -> None:
        assert self.recorded is None, 'a stream that records cannot be waited for'
        for work in self.work:
            work()
        self.work.clear()


class HostPycuda:
    """What adet uses of ``pycuda.driver``: a context has to be current in the thread."""

    class Error(Exception):
        """As pycuda's."""

    class MemoryError(Error):  # noqa: A001 - as pycuda calls it
        """As pycuda's."""

    host_alloc_flags = SimpleNamespace(DEVICEMAP=2)

    def __init__(self, device: HostDevice, name: str, capability: str) -> None:
        self._device, self._name, self._capability = device, name, capability

    def init(self) -> None:
        pass

    def Device(self, number: int) -> HostPycuda:  # noqa: N802 - as pycuda calls it
        assert number == 0
        return self

    def name(self) -> str:
        return self._name

    def compute_capability(self) -> tuple[int, ...]:
        return tuple(map(int, self._capability.split('.')))

    def retain_primary_context(self) -> HostPycuda:
        return self

    def push(self) -> None:
        self._device.enter(1)

    def pop(self) -> None:
        self._device.enter(-1)

    def _check(self) -> None:
        if not self._device.is_current:
            raise self.Error('no context is current in this thread')

    def mem_alloc(self, size: int) -> PycudaMemory:
        self._check()
        try:
            return PycudaMemory(self._device, size)
        except MemoryError:
            raise self.MemoryError('cuMemAlloc failed: out of memory') from None

    def mem_get_info(self) -> tuple[int, int]:
        self._check()
        return self._device.limit - self._device.used, self._device.limit

    def pagelocked_empty(self, size: int, kind: Any, mem_flags: int = 0) -> np.ndarray:
        self._check()
        assert mem_flags in {0, self.host_alloc_flags.DEVICEMAP}
        assert kind is np.uint8
        return np.asarray(PinnedBytes(size))

    def Stream(self, flags: int) -> PycudaStream:  # noqa: N802 - as pycuda calls it
        self._check()
        assert flags == 1
        return PycudaStream(self)

    def memcpy_htod_async(self, device: int, host: np.ndarray, stream: PycudaStream) -> None:
        self._check()
        stream.real.copy(device, host.ctypes.data, host.nbytes)

    def memcpy_dtoh_async(self, host: np.ndarray, device: int, stream: PycudaStream) -> None:
        self._check()
        stream.real.copy(host.ctypes.data, device, host.nbytes)


class PinnedBytes:
    """The base of an array, which knows its address."""

    def __init__(self, size: int) -> None:
        self._bytes = np.empty(size, np.uint8)
        self.__array_interface__ = self._bytes.__array_interface__

    def get_device_pointer(self) -> int:
        return self._bytes.ctypes.data


class PycudaMemory:
    """Of the device."""

    def __init__(self, device: HostDevice, size: int) -> None:
        self._device, self._address = device, device.take(size)

    def __int__(self) -> int:
        return self._address

    def __del__(self) -> None:
        # Outside of the context it is lost, as with pycuda.
        if hasattr(self, '_address') and self._device.is_current:
            self._device.give_back(self._address)


class PycudaStream:
    """As pycuda's."""

    def __init__(self, cuda: HostPycuda) -> None:
        self._cuda, self.real = cuda, cuda._device.make_stream()
        self.handle = self.real.handle

    def synchronize(self) -> None:
        self._cuda._check()
        if self.real.device.lost:
            raise self._cuda.Error(f'cuStreamSynchronize failed: {self.real.device.lost}')
        self.real.synchronize()


class HostCudaPython:
    """What adet uses of ``cuda.bindings.runtime``: its functions return an error code first."""

    cudaHostAllocDefault, cudaHostAllocMapped, cudaStreamNonBlocking = 0, 2, 1  # noqa: N815
    cudaError_t = SimpleNamespace(cudaSuccess=0, cudaErrorMemoryAllocation=2)  # noqa: N815
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815

    def __init__(self, device: HostDevice, name: str, capability: str) -> None:
        major, minor = map(int, capability.split('.'))
        self._device = device
        self._properties = SimpleNamespace(
            name=name.encode().ljust(256, b'\0'), major=major, minor=minor
        )
        self._pinned: dict[int, np.ndarray] = {}
        self.refuses_to_record = False

    def cudaGetErrorString(self, code: int) -> tuple[int, bytes]:  # noqa: N802
        texts = {2: 'out of memory', 719: self._device.lost, 900: 'not permitted when capturing'}
        return 0, texts[code].encode()

    def cudaSetDevice(self, number: int) -> tuple[int]:  # noqa: N802
        assert number == 0
        return (0,)

    def cudaGetDeviceProperties(self, number: int) -> tuple[int, Any]:  # noqa: N802
        assert number == 0
        return 0, self._properties

    def cudaMalloc(self, size: int) -> tuple[int, int | None]:  # noqa: N802
        try:
            return 0, self._device.take(size)
        except MemoryError:
            return 2, None

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        self._device.give_back(address)
        return (0,)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[int, int]:  # noqa: N802
        assert flags in {self.cudaHostAllocDefault, self.cudaHostAllocMapped}
        array = np.empty(size, np.uint8)
        self._pinned[array.ctypes.data] = array
        return 0, array.ctypes.data

    def cudaFreeHost(self, pointer: int) -> tuple[int]:  # noqa: N802
        del self._pinned[pointer]
        return (0,)

    def cudaHostGetDevicePointer(self, pointer: int, flags: int) -> tuple[int, int]:  # noqa: N802
        assert flags == 0
        return 0, pointer

    def cudaMemGetInfo(self) -> tuple[int, int, int]:  # noqa: N802
        return 0, self._device.limit - self._device.used, self._device.limit

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[int, int]:  # noqa: N802
        assert flags == self.cudaStreamNonBlocking
        return 0, self._device.make_stream().handle

    def cudaStreamDestroy(self, handle: int) -> tuple[int]:  # noqa: N802
        del self._device.streams[handle]
        return (0,)

    def cudaMemcpyAsync(  # noqa: N802
        self, target: int, source: int, size: int, kind: int, handle: int
    ) -> tuple[int]:
        assert kind in vars(self.cudaMemcpyKind).values()
        self._device.streams[handle].copy(target, source, size)
        return (0,)

    def cudaStreamSynchronize(self, handle: int) -> tuple[int]:  # noqa: N802
        if self._device.lost:
            return (719,)
        self._device.streams[handle].synchronize()
        return (0,)

    def cudaStreamBeginCapture(self, handle: int, mode: int) -> tuple[int]:  # noqa: N802
        assert mode == self.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        if self.refuses_to_record:
            return (900,)
        self._device.streams[handle].recorded = []
        return (0,)

    def cudaStreamEndCapture(self, handle: int) -> tuple[int, Any]:  # noqa: N802
        stream = self._device.streams[handle]
        recorded, stream.recorded = stream.recorded, None
        return 0, recorded

    def cudaGraphInstantiate(self, recorded: Any, flags: int) -> tuple[int, Any]:  # noqa: N802
        assert flags == 0
        return 0, tuple(recorded)

    def cudaGraphDestroy(self, recorded: Any) -> tuple[int]:  # noqa: N802
        recorded.clear()
        return (0,)

    def cudaGraphExecDestroy(self, ready: Any) -> tuple[int]:  # noqa: N802
        assert isinstance(ready, tuple)
        return (0,)

    def cudaGraphLaunch(self, ready: Any, handle: int) -> tuple[int]:  # noqa: N802
        self._device.launches += 1
        for work in ready:
            self._device.streams[handle].queue(work)
        return (0,)


class HostEngine:
    """A deserialised engine; its profile is what the build was told."""

    def __init__(self, device: HostDevice, graph: bytes, ranges: dict[str, Any]) -> None:
        self.device, self.ranges = device, ranges
        self.session = onnxruntime.InferenceSession(graph, providers=['CPUExecutionProvider'])

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        assert profile == 0
        return self.ranges[name]

    def create_runtime_config(self) -> Any:
        return SimpleNamespace(create_runtime_cache=object, set_runtime_cache=lambda _: None)

    def create_execution_context(self, config: Any) -> HostContext:
        assert config.dynamic_shapes_kernel_specialization_strategy is not None
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
        self._engine.device.streams[handle].queue(lambda: self._run(shapes, places))
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

    def __init__(self, api: Any, device: HostDevice) -> None:
        self._api, self._device = api, device
        self.built: dict[bytes, tuple[bytes, dict[str, Any]]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    def Runtime(self, log: Any) -> HostTensorRt:  # noqa: N802 - as TensorRT calls it
        assert log is not None
        return self

    def deserialize_cuda_engine(self, plan: bytes) -> HostEngine | None:
        return HostEngine(self._device, *self.built[plan]) if plan in self.built else None
