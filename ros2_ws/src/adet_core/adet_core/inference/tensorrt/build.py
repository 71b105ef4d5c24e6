# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From an ONNX graph to a serialised TensorRT engine, called a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from adet_core.bundle import BuildOptions
from adet_core.errors import BackendError
from adet_core.inference.statistics_transform import IMAGE_INPUT
from adet_core.inference.tensorrt.library import last_error, TensorRtLibrary
from adet_core.progress import ProgressCallback, silent

# A memory bank may grow to this length before its engine must be built again.
_ROOM = 16_384
_LEAST = 64
# TensorRT looks for external data beside this path, where no file can be.
_NOWHERE = '/dev/null/model.onnx'
_STAGE = 'building the engine'


def length_range(length: int) -> tuple[int, int, int]:
    """Smallest, usual and largest length of a statistic whose length is ``length`` now."""
    return min(length, _LEAST), length, max(2 * length, _ROOM)


def build_plan(
    library: TensorRtLibrary,
    graph: bytes,
    shapes: Mapping[str, Sequence[int]],
    precision: str,
    options: BuildOptions,
    *,
    timings: bytes = b'',
    progress: ProgressCallback = silent,
) -> tuple[bytes, bytes]:
    """Build an engine, which takes minutes on a small board.

    Ctrl-C, or another exception in this thread, ends the build at its next step; before TensorRT
    10, when the build is done.

    Args:
        library: The TensorRT to build with.
        graph: An ONNX model without external data.
        shapes: Shapes of the graph's inputs with the present statistics, by name.
        precision: Precision of the graph: ``fp32``, ``fp16`` or ``int8``.
        options: Options of the build.
        timings: Timing cache of an earlier build, which makes this one quicker; may be empty.
        progress: Called from a thread of TensorRT. An exception that it raises ends the build.

    Returns:
        The plan, and the timings of this build.

    Raises:
        BackendError: TensorRT refuses the graph or the options.
        ConfigError: An option is out of range; the message names it.
    """
    options.check()
    trt = library.api
    log = library.make_log()
    try:
        builder = trt.Builder(log)
        network = builder.create_network(_network_flags(library, options))
    except (RuntimeError, TypeError):
        # Full TensorRT without a GPU: its constructors return nothing.
        raise BackendError(f'{library} cannot build here: {last_error(log)}') from None
    if not library.reads_opset_18:
        # Every command would have to load onnx otherwise.
        from adet_core.inference.tensorrt.downgrade_opset import downgrade_opset

        graph = downgrade_opset(graph)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph, _NOWHERE):
        reasons = [str(parser.get_error(number).desc()) for number in range(parser.num_errors)]
        msg = f'{library} cannot read the graph: {" ".join("; ".join(reasons).split())}'
        raise BackendError(msg)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    config.add_optimization_profile(_profile(builder, network, shapes, options))
    _choose_types(library, network, config, precision, options)
    _choose_device(library, builder, config, precision, options.dla_core)
    cache = _use_timings(config, timings)
    progress(_STAGE, 0, None)
    plan = _run(trt, builder, network, config, progress)
    if plan is None:
        raise BackendError(f'{library} cannot build the engine: {last_error(log)}')
    return bytes(plan), b'' if cache is None else bytes(cache.serialize())


def _network_flags(library: TensorRtLibrary, options: BuildOptions) -> int:
    kinds = library.api.NetworkDefinitionCreationFlag
    if _keeps_types(library, options):
        return 1 << int(kinds.STRONGLY_TYPED) if library.can_keep_types else 0
    # Before TensorRT 10 a network otherwise has no axis for the images.
    return 1 << int(kinds.EXPLICIT_BATCH)


def _keeps_types(library: TensorRtLibrary, options: BuildOptions) -> bool:
    """Whether the graph's types are the network's; else they are a hint, beside builder flags.

    Where TensorRT allows both, a build for a DLA core uses the flags.
    """
    if not library.can_choose_types:
        return True
    return library.can_keep_types and options.dla_core < 0


def _choose_types(
    library: TensorRtLibrary, network: Any, config: Any, precision: str, options: BuildOptions
) -> None:
    trt = library.api
    # Ten bits of mantissa are not the fp32 that the trained model was checked with.
    config.clear_flag(trt.BuilderFlag.TF32)
    if _keeps_types(library, options) or precision == 'fp32':
        return
    config.set_flag(trt.BuilderFlag.FP16)
    if precision == 'int8':
        config.set_flag(trt.BuilderFlag.INT8)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    # Norms, distances and sums are in float32 in the graph, and have to stay so.
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        kinds = [layer.get_output(output).dtype for output in range(layer.num_outputs)]
        if kinds and all(kind == trt.float32 for kind in kinds):
            layer.precision = trt.float32


def _choose_device(
    library: TensorRtLibrary, builder: Any, config: Any, precision: str, core: int
) -> None:
    if core < 0:
        return
    if precision != 'fp16':
        # What int8 is here, QuantizeLinear in the graph, it does not take.
        raise BackendError(f'a DLA core takes fp16, the graph is {precision}; export it as fp16')
    there = int(builder.num_DLA_cores)
    if core >= there:
        raise BackendError(f'there is no DLA core {core}: {library} finds {there} here')
    config.default_device_type = library.api.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(library.api.BuilderFlag.GPU_FALLBACK)


def _profile(
    builder: Any, network: Any, shapes: Mapping[str, Sequence[int]], options: BuildOptions
) -> Any:
    """The lengths of all axes that are free."""
    profile = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        one = network.get_input(number)
        free = tuple(one.shape)
        if one.name == IMAGE_INPUT:
            most = options.max_batch if free[0] < 0 else 1
            ranges = [(1, 1, most), *((edge,) * 3 for edge in free[1:])]
        elif one.name in shapes:
            ranges = [
                length_range(now) if length < 0 else (now,) * 3
                for now, length in zip(shapes[one.name], free, strict=True)
            ]
        else:
            msg = f'the graph takes the statistics {one.name!r}, which the bundle does not have'
            raise BackendError(f'{msg}; export the bundle again')
        profile.set_shape(one.name, *zip(*ranges, strict=True))
    return profile


def _use_timings(config: Any, timings: bytes) -> Any:
    """The timing cache of a build; None where this TensorRT keeps none."""
    for data in (timings, b''):
        cache = config.create_timing_cache(data)
        # Those of another GPU or version are refused, and measured anew.
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
    return None


def _run(trt: Any, builder: Any, network: Any, config: Any, progress: ProgressCallback) -> Any:
    """Build in a thread of its own: this one would not hear Ctrl-C inside of TensorRT."""
    watcher = _make_watcher(trt, progress)
    if watcher is not None:
        config.progress_monitor = watcher
    with ThreadPoolExecutor(1, 'build') as pool:
        building = pool.submit(builder.build_serialized_network, network, config)
        try:
            plan = building.result()
        except BaseException as error:
            if watcher is not None:
                watcher.error = error
            raise
    if watcher is not None and watcher.error is not None:
        raise watcher.error
    return plan


def _make_watcher(trt: Any, progress: ProgressCallback) -> Any:
    """What TensorRT tells its progress to; None before TensorRT 10, which tells none."""
    if not hasattr(trt, 'IProgressMonitor'):
        return None

    class Watcher(_Watcher, trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        """As TensorRT wants it: of its own kind."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            _Watcher.__init__(self, progress)

    return Watcher()


class _Watcher:
    """Reports the outermost phases of a build; its methods are called by TensorRT.

    Attributes:
        error: What ends the build; an exception must not cross TensorRT's own code.
    """

    def __init__(self, progress: ProgressCallback) -> None:
        self.error: BaseException | None = None
        self._progress = progress
        self._steps: dict[str, int] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        if parent_phase is None:
            self._steps[phase_name] = num_steps

    def step_complete(self, phase_name: str, step: int) -> bool:
        """False ends the build."""
        if phase_name in self._steps:
            self._tell(step + 1, self._steps[phase_name])
        return self.error is None

    def phase_finish(self, phase_name: str) -> None:
        """The last steps may have been left out."""
        if steps := self._steps.pop(phase_name, 0):
            self._tell(steps, steps)

    def _tell(self, done: int, total: int) -> None:
        if self.error is None:
            try:
                self._progress(_STAGE, done, total)
            except Exception as error:  # noqa: BLE001 - raised when TensorRT has returned
                self.error = error
