# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Runs an engine: TensorRT by its named tensors, memory and streams by pycuda."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
import copy
import functools
from importlib import import_module
import math
from typing import Any, NamedTuple
import weakref

import numpy as np
import numpy.typing as npt

from adet_core.errors import BackendError
from adet_core.inference.backend import check_images, IMAGE_INPUT
from adet_core.inference.statistics_transform import GraphInputs
from adet_core.inference.tensorrt.library import TensorRtLibrary
from adet_core.prediction import Prediction

# TensorRT's alignment of the addresses of tensors, in bytes.
_ALIGNMENT = 256
_FLOAT = np.dtype(np.float32)


class EngineError(BackendError):
    """TensorRT refuses the engine, or the statistics have outgrown it: it must be built again."""


class Gpu(NamedTuple):
    """The GPU that engines are built for and run on.

    Attributes:
        name: E.g. ``Orin``.
        capability: Compute capability, e.g. ``8.7``.
        context: The primary context, shared with other users of the GPU in this process.
        cuda: ``pycuda.driver``.
    """

    name: str
    capability: str
    context: Any
    cuda: Any

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make its context current in this thread, whichever thread that is.

        Raises:
            BackendError: CUDA failed, e.g. memory is short or the GPU is lost.
        """
        try:
            self.context.push()
            try:
                yield
            finally:
                self.context.pop()
        except self.cuda.Error as error:
            raise BackendError(self._explain(error)) from None

    def _explain(self, error: Exception) -> str:
        text = ' '.join(str(error).split())
        if isinstance(error, self.cuda.MemoryError):
            return f'{self.name} is out of memory ({text}); run fewer models, or a smaller bank'
        # An error of a kernel, or a lost GPU, stays with the process.
        return f'{self.name} failed ({text}); start the node again'


@functools.cache
def find_gpu() -> Gpu:
    """The first GPU that this process may see.

    Raises:
        BackendError: There is none, or pycuda is missing.
    """
    try:
        # Not an import statement: only machines with a GPU have it.
        cuda = import_module('pycuda.driver')
    except ImportError as error:
        msg = f'pycuda cannot be imported ({error}); install it with: pip install pycuda'
        raise BackendError(msg) from None
    try:
        cuda.init()
        device = cuda.Device(0)
        context = device.retain_primary_context()
    except cuda.Error as error:
        raise BackendError(f'no GPU can be used: {error}') from None
    major, minor = device.compute_capability()
    return Gpu(device.name(), f'{major}.{minor}', context, cuda)


class TensorRtBackend:
    """Runs an engine; its statistics stay on the device, and can be replaced.

    Attributes:
        detail: Ends its name, for people.
    """

    def __init__(
        self, library: TensorRtLibrary, gpu: Gpu, plan: bytes, inputs: GraphInputs
    ) -> None:
        """Load an engine.

        Args:
            library: The TensorRT that built it.
            gpu: The GPU that it was built for.
            plan: The engine, built on this machine: to load it is to run its code.
            inputs: Makes the engine's inputs from a bundle's statistics.

        Raises:
            BackendError: Memory is short, or the GPU fails.
            EngineError: TensorRT refuses it.
        """
        self._library, self._gpu, self._inputs = library, gpu, inputs
        self.detail = ''
        trt = library.api
        # Kept as long as the engine: TensorRT does not.
        self._log = trt.Logger(trt.Logger.ERROR)
        with gpu.current():
            self._runtime = trt.Runtime(self._log)
            self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(f'{library} cannot load the engine on {gpu.name}')
        least, _, most = map(tuple, self._engine.get_tensor_profile_shape(IMAGE_INPUT, 0))
        self._image_shape, self._max_batch = least[1:], most[0]
        self._outputs = {'score': (1,), 'anomaly_map': (1, *self._image_shape[:2])}
        self._allocate()

    @property
    def name(self) -> str:
        """For people: the library and device."""
        return f'{self._library} ({self._gpu.name}{self.detail})'

    def fork(self) -> TensorRtBackend:
        """See `adet_core.inference.backend.Backend.fork`."""
        other = copy.copy(self)
        other._allocate()  # noqa: SLF001 - same class
        return other

    def _allocate(self) -> None:
        """Take memory of its own; no statistics are bound."""
        cuda, own = self._gpu.cuda, _Own()
        self._own = own
        # First of all: if an allocation fails, those before it are given back.
        weakref.finalize(self, _release, self._gpu, own)
        size = sum(_room(self._max_batch, each) for each in self._outputs.values())
        with self._gpu.current():
            own.context = self._engine.create_execution_context()
            if own.context is None:
                msg = f'{self._gpu.name} is out of memory for another run of the engine'
                raise BackendError(f'{msg}; run fewer models')
            own.stream = cuda.Stream()
            own.input = _Buffer(cuda, self._max_batch * math.prod(self._image_shape))
            own.outputs = _Buffer(cuda, size)
            own.context.set_tensor_address(IMAGE_INPUT, int(own.input.device))
        self._count = 0
        self._bound = not self._inputs.shapes

    def bind(self, statistics: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """See `adet_core.inference.backend.Backend.bind`."""
        arrays = self._inputs(statistics)
        for name, array in arrays.items():
            least, _, most = map(tuple, self._engine.get_tensor_profile_shape(name, 0))
            if not all(
                low <= n <= high for low, n, high in zip(least, array.shape, most, strict=True)
            ):
                msg = f'the engine takes {name!r} of {least} to {most}, got {array.shape}'
                raise EngineError(f'{msg}; it has to be built again')
        cuda = self._gpu.cuda
        with self._gpu.current():
            # All are copied before the first one takes effect; then the old ones are freed.
            new = [cuda.to_device(np.ascontiguousarray(array)) for array in arrays.values()]
            for (name, array), memory in zip(arrays.items(), new, strict=True):
                self._own.context.set_input_shape(name, array.shape)
                self._own.context.set_tensor_address(name, int(memory))
            self._own.statistics = new
        self._bound = True

    def run(self, images: npt.NDArray[np.uint8]) -> Prediction:
        """See `adet_core.inference.backend.Backend.run`."""
        if not self._bound:
            msg = f'the graph needs the statistics {sorted(self._inputs.shapes)}: bind them'
            raise BackendError(msg)
        check_images(images, self._image_shape)
        with self._gpu.current():
            parts = [
                self._run(images[first : first + self._max_batch])
                for first in range(0, len(images), self._max_batch)
            ]
        return Prediction.concatenate(parts)

    def features(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Refuse: engines are built for predictions only; see `Backend.features`."""
        del images
        raise BackendError('a TensorRT engine gives no features; take the backend onnxruntime')

    def _run(self, images: npt.NDArray[np.uint8]) -> Prediction:
        cuda, own, count = self._gpu.cuda, self._own, len(images)
        if count != self._count:
            self._lay_out(count)
        staged = own.input.host[: images.nbytes]
        staged.reshape(images.shape)[...] = images
        cuda.memcpy_htod_async(own.input.device, staged, own.stream)
        if not own.context.execute_async_v3(own.stream.handle):
            raise BackendError(f'{self.name} refuses to run the engine; start the node again')
        # One copy for all outputs.
        outputs = own.outputs.host[: sum(_room(count, each) for each in self._outputs.values())]
        cuda.memcpy_dtoh_async(outputs, own.outputs.device, own.stream)
        own.stream.synchronize()
        found, place = [], 0
        for each in self._outputs.values():
            size = count * math.prod(each) * _FLOAT.itemsize
            # A copy: the next run overwrites this memory.
            found.append(outputs[place : place + size].view(_FLOAT).reshape(count, *each).copy())
            place += _room(count, each)
        scores, maps = found
        return Prediction(scores[:, 0], maps[:, 0])

    def _lay_out(self, count: int) -> None:
        """Tell the engine the number of images and the addresses of its outputs."""
        self._own.context.set_input_shape(IMAGE_INPUT, (count, *self._image_shape))
        place = int(self._own.outputs.device)
        for name, each in self._outputs.items():
            self._own.context.set_tensor_address(name, place)
            place += _room(count, each)
        self._count = count


class _Own:
    """What one backend holds on the device beside the engine.

    Attributes:
        context: TensorRT's execution context.
        stream: Queue of its copies and runs.
        input: The images.
        outputs: All outputs, one behind the other.
        statistics: Memory of the other inputs; the context knows only its addresses.
    """

    context: Any
    stream: Any
    input: _Buffer
    outputs: _Buffer
    statistics: Sequence[Any]


class _Buffer:
    """Memory on the device, and page-locked memory of the same size on the host."""

    def __init__(self, cuda: Any, size: int) -> None:
        self.host: npt.NDArray[np.uint8] = cuda.pagelocked_empty(size, np.uint8)
        self.device = cuda.mem_alloc(size)


def _room(count: int, shape: Sequence[int]) -> int:
    """Bytes from one output to the next."""
    size = count * math.prod(shape) * _FLOAT.itemsize
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _release(gpu: Gpu, own: _Own) -> None:
    """Give memory back; pycuda loses it for ever outside of its context.

    A detector that was swapped out is let go of by whatever thread was the last to use it.
    """
    with suppress(BackendError), gpu.current():
        vars(own).clear()
