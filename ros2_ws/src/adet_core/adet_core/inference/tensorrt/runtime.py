# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Runs an engine: TensorRT by its named tensors, the GPU's memory and streams by `Gpu`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
import copy
import math
from typing import Any
import weakref

import numpy as np
import numpy.typing as npt

from adet_core.errors import BackendError
from adet_core.inference.backend import check_images
from adet_core.inference.statistics_transform import GraphInputs, IMAGE_INPUT
from adet_core.inference.tensorrt.gpu import (
    CudaError,
    CudaGraph,
    Gpu,
    HostArray,
    Memory,
    RunOptions,
    Stream,
)
from adet_core.inference.tensorrt.library import last_error, TensorRtLibrary
from adet_core.models.statistics_model import Statistics
from adet_core.prediction import Prediction

# TensorRT's alignment of the addresses of tensors, in bytes.
_ALIGNMENT = 256
_FLOAT = np.dtype(np.float32)


class EngineError(BackendError):
    """TensorRT refuses the engine, or the statistics have outgrown it: it must be built again."""


class TensorRtBackend:
    """Runs an engine; its statistics stay on the device, and can be replaced.

    Attributes:
        detail: Ends its name, for people.
        overlaps: See `adet_core.inference.backend.Backend.overlaps`.
    """

    def __init__(
        self,
        library: TensorRtLibrary,
        gpu: Gpu,
        plan: bytes,
        inputs: GraphInputs,
        options: RunOptions | None = None,
    ) -> None:
        """Load an engine.

        Args:
            library: The TensorRT that built it.
            gpu: The GPU that it was built for.
            plan: The engine, built on this machine: to load it is to run its code.
            inputs: Makes the engine's inputs from a bundle's statistics.
            options: How to run it; None takes those of the environment.

        Raises:
            BackendError: Memory is short, or the GPU fails.
            ConfigError: The environment has an unknown option.
            EngineError: TensorRT refuses it.
        """
        self._library, self._gpu, self.inputs = library, gpu, inputs
        self._options = options or RunOptions.from_environment()
        self.detail, self.overlaps = '', self._options.streams > 1
        trt = library.api
        # Kept as long as the engine: TensorRT does not.
        self._log = library.make_log()
        with gpu.current():
            self._runtime = trt.Runtime(self._log)
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                msg = f'{library} cannot load the engine on {gpu.name}'
                raise EngineError(f'{msg}: {last_error(self._log)}')
            self._config = _runtime_config(trt, self._engine)
        least, _, most = map(tuple, self._engine.get_tensor_profile_shape(IMAGE_INPUT, 0))
        self._image_shape, self._max_batch = least[1:], most[0]
        self._allocate()

    @property
    def name(self) -> str:
        """For people: the library and device."""
        graphs = self._own.lanes[0].no_graphs if self._options.graphs else ''
        without = f', without CUDA graphs: {graphs}' if graphs else ''
        return f'{self._library} ({self._gpu.name}{self.detail}{without})'

    def fork(self) -> TensorRtBackend:
        """See `adet_core.inference.backend.Backend.fork`."""
        other = copy.copy(self)
        other._allocate()  # noqa: SLF001 - same class
        return other

    def _allocate(self) -> None:
        """Take memory of its own; no statistics are bound."""
        own = self._own = _Own()
        # First of all: if an allocation fails, those before it are given back.
        weakref.finalize(self, _release, self._gpu, own)
        with self._gpu.current():
            for _ in range(self._options.streams):
                context = self._make_context()
                own.lanes.append(
                    _Lane(self._gpu, context, self._image_shape, self._max_batch, self._options)
                )
        self._next = 0
        self._bound = not self.inputs.shapes

    def _make_context(self) -> Any:
        make = self._engine.create_execution_context
        context = make() if self._config is None else make(self._config)
        if context is None:
            msg = f'{self._gpu.name} has no room for another run of the engine'
            raise BackendError(f'{msg} ({last_error(self._log)}); run fewer models')
        return context

    def bind(self, statistics: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """See `adet_core.inference.backend.Backend.bind`."""
        self.bind_inputs(self.inputs(statistics))

    def bind_inputs(self, arrays: Statistics) -> None:
        """See `adet_core.inference.backend.Backend.bind_inputs`."""
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        for name, array in arrays.items():
            least, _, most = map(tuple, self._engine.get_tensor_profile_shape(name, 0))
            if not all(
                low <= n <= high for low, n, high in zip(least, array.shape, most, strict=True)
            ):
                msg = f'the engine takes {name!r} of {least} to {most}, got {array.shape}'
                raise EngineError(f'{msg}; it has to be built again')
        lanes = self._own.lanes
        with self._gpu.current():
            # All are copied before the first one takes effect; then the old ones are freed.
            new = {name: self._gpu.memory(array.nbytes) for name, array in arrays.items()}
            for name, array in arrays.items():
                lanes[0].stream.to_device(new[name].address, array)
            lanes[0].stream.synchronize()
            for lane in lanes:
                lane.bind({name: (array.shape, new[name]) for name, array in arrays.items()})
            self._own.statistics = list(new.values())
        self._bound = True

    def run(self, images: npt.NDArray[np.uint8]) -> Prediction:
        """See `adet_core.inference.backend.Backend.run`."""
        return self.start(images)()

    def start(self, images: npt.NDArray[np.uint8]) -> Callable[[], Prediction]:
        """See `adet_core.inference.backend.Backend.start`."""
        if not self._bound:
            msg = f'the graph needs the statistics {sorted(self.inputs.shapes)}: bind them'
            raise BackendError(msg)
        check_images(images, self._image_shape)
        with self._gpu.current():
            runs = [
                self._start(images[first : first + self._max_batch])
                for first in range(0, len(images), self._max_batch)
            ]

        def finish() -> Prediction:
            with self._gpu.current():
                return Prediction.concatenate(run.finish() for run in runs)

        return finish

    def _start(self, images: npt.NDArray[np.uint8]) -> _Run:
        lane = self._own.lanes[self._next]
        self._next = (self._next + 1) % len(self._own.lanes)
        run = lane.start(images)
        if run is None:
            reason = last_error(self._log)
            msg = f'{self.name} refuses to run the engine ({reason}); start the node again'
            raise BackendError(msg)
        return run

    def features(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Refuse: engines are built for predictions only; see `Backend.features`."""
        del images
        raise BackendError('a TensorRT engine gives no features; take the backend onnxruntime')


class _Lane:
    """An execution context with a stream and memory of its own; runs one batch after the other.

    Attributes:
        stream: Queue of its copies and runs.
        no_graphs: Why it launches no CUDA graphs; empty if it does.
    """

    def __init__(
        self,
        gpu: Gpu,
        context: Any,
        image_shape: tuple[int, ...],
        max_batch: int,
        options: RunOptions,
    ) -> None:
        self._context, self._image_shape = context, image_shape
        self._output_shapes = {'score': (1,), 'anomaly_map': (1, *image_shape[:2])}
        self.stream = gpu.stream()
        mapped = options.zero_copy
        self._input = _Buffer(gpu, max_batch * math.prod(image_shape), mapped)
        self._outputs = _Buffer(gpu, self._output_size(max_batch), mapped)
        context.set_tensor_address(IMAGE_INPUT, self._input.address)
        self.no_graphs = gpu.no_graphs if options.graphs else 'switched off'
        # The number of images that the context is laid out for, and whether it has run with it.
        self._count, self._has_run = 0, False
        self._graph: CudaGraph | None = None
        self._run: _Run | None = None

    def bind(self, inputs: Mapping[str, tuple[tuple[int, ...], Memory]]) -> None:
        """Take other inputs beside the images, by name."""
        self._finish_run()
        for name, (shape, memory) in inputs.items():
            self._context.set_input_shape(name, shape)
            self._context.set_tensor_address(name, memory.address)
        self._forget_graph()

    def start(self, images: npt.NDArray[np.uint8]) -> _Run | None:
        """Queue a batch; the one before is finished first. None: TensorRT refuses."""
        self._finish_run()
        count = len(images)
        if count != self._count:
            self._lay_out(count)
        self._input.host[: images.nbytes].reshape(images.shape)[...] = images
        if not self._launch(count):
            return None
        self._run = _Run(self, count)
        return self._run

    def collect(self, count: int) -> Prediction:
        """Wait for what was queued last, and give its prediction."""
        self._run = None
        self.stream.synchronize()
        found, place = [], 0
        for shape in self._output_shapes.values():
            size = count * math.prod(shape) * _FLOAT.itemsize
            part = self._outputs.host[place : place + size]
            # A copy: the next run overwrites this memory.
            found.append(part.view(_FLOAT).reshape(count, *shape).copy())
            place += _room(count, shape)
        scores, maps = found
        return Prediction(scores[:, 0], maps[:, 0])

    def _finish_run(self) -> None:
        if self._run is not None:
            # Whoever started it may come for it later.
            with suppress(CudaError):
                self._run.finish()

    def _launch(self, count: int) -> bool:
        if self._graph is None and self._has_run and not self.no_graphs:
            self._record(count)
        if self._graph is not None:
            self._graph.launch()
            return True
        # TensorRT wants to run once before it is recorded.
        self._has_run = True
        return self._queue(count)

    def _record(self, count: int) -> None:
        try:
            self._graph = self.stream.record(lambda: self._must_queue(count))
        except CudaError as error:
            self.no_graphs = str(error)

    def _must_queue(self, count: int) -> None:
        if not self._queue(count):
            raise CudaError('TensorRT cannot be recorded with this engine')

    def _queue(self, count: int) -> bool:
        self._input.to_device(self.stream, count * math.prod(self._image_shape))
        if not self._context.execute_async_v3(self.stream.handle):
            return False
        # One copy for all outputs.
        self._outputs.to_host(self.stream, self._output_size(count))
        return True

    def _lay_out(self, count: int) -> None:
        """Tell the engine the number of images and the addresses of its outputs."""
        self._context.set_input_shape(IMAGE_INPUT, (count, *self._image_shape))
        place = self._outputs.address
        for name, shape in self._output_shapes.items():
            self._context.set_tensor_address(name, place)
            place += _room(count, shape)
        self._count = count
        self._forget_graph()

    def _forget_graph(self) -> None:
        """What was recorded has other addresses and lengths in it."""
        self._graph, self._has_run = None, False

    def _output_size(self, count: int) -> int:
        return sum(_room(count, shape) for shape in self._output_shapes.values())


class _Run:
    """A batch that was queued on a lane."""

    def __init__(self, lane: _Lane, count: int) -> None:
        self._lane: _Lane | None = lane
        self._count = count
        self._outcome: Prediction | CudaError | None = None

    def finish(self) -> Prediction:
        """Wait for its prediction; as often as one likes."""
        if self._lane is not None:
            lane, self._lane = self._lane, None
            try:
                self._outcome = lane.collect(self._count)
            except CudaError as error:
                self._outcome = error
        if isinstance(self._outcome, Prediction):
            return self._outcome
        assert self._outcome is not None
        raise self._outcome


class _Own:
    """What one backend holds on the device beside the engine.

    Attributes:
        lanes: They take turns.
        statistics: Memory of the inputs beside images; contexts know only its addresses.
    """

    def __init__(self) -> None:
        self.lanes: list[_Lane] = []
        self.statistics: Sequence[Memory] = ()


class _Buffer:
    """Page-locked memory of the host, and memory of the device that it is copied from or to.

    Attributes:
        host: uint8 ``(size,)``.
        address: On the device.
    """

    def __init__(self, gpu: Gpu, size: int, mapped: bool) -> None:
        self._pinned = gpu.pinned(size, mapped=mapped)
        self.host: HostArray = self._pinned.array
        self._device = None if mapped else gpu.memory(size)
        self.address = self._pinned.address if self._device is None else self._device.address

    def to_device(self, stream: Stream, size: int) -> None:
        """Queue a copy of the first bytes, unless the memory is the same."""
        if self._device is not None:
            stream.to_device(self.address, self.host[:size])

    def to_host(self, stream: Stream, size: int) -> None:
        """Queue a copy of the first bytes, unless the memory is the same."""
        if self._device is not None:
            stream.to_host(self.host[:size], self.address)


def _runtime_config(trt: Any, engine: Any) -> Any:
    """How contexts of TensorRT for RTX compile their kernels, once for all; None for others."""
    if not hasattr(trt, 'DynamicShapesKernelSpecializationStrategy'):
        return None
    config = engine.create_runtime_config()
    # Its own kernels before the first prediction, instead of slower ones for a while.
    strategies = trt.DynamicShapesKernelSpecializationStrategy
    config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
    config.set_runtime_cache(config.create_runtime_cache())
    return config


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
