# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The steps of `gpu`: each is a process of its own, and leaves its figures in a file."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
import fcntl
from functools import partial
import gc
from itertools import product
import json
import os
from pathlib import Path
import sys
import time
from typing import Any, NamedTuple, TYPE_CHECKING

from gpu_report import figures_path
import numpy as np
import numpy.typing as npt

from adet_core.bundle import BuildOptions, Bundle, copy_bundle, open_bundle
from adet_core.errors import BackendError, ExportError
from adet_core.inference.backend import Backend
from adet_core.inference.detector import Detector
from adet_core.inference.parity import BANDS, measure_parity
from adet_core.inference.session import has_cuda
from adet_core.inference.tensorrt import find_gpu, find_library
from adet_core.metrics import auroc
from adet_core.models.names import model_folder

if TYPE_CHECKING:
    import torch

    from adet_training.dataset import Category

ONNX_RUNTIME = 'ONNX Runtime'
"""What runs graphs where TensorRT does not, in tables."""

BATCH = 16
"""Images of the larger batch, and of an engine at most."""

COMPILED = {
    'torch.compile fp32': 'default',
    'torch.compile fp16': 'default',
    'torch.compile fp16, CUDA graphs': 'reduce-overhead',
}
"""Ways to compile with torch, and the mode of each."""

Images = npt.NDArray[np.uint8]
Run = Callable[[Images], object]

_CATEGORY = 'plate'
_FEWEST_ROUNDS, _WARM_UP_S = 20, 1.5
# A swap or two may set things up that stay.
_FIRST_SWAPS = 3


class Step:
    """What a step works with.

    Attributes:
        options: Of the command line.
        kind: What is done.
        arguments: With what: model and precision, or category.
        figures: What it has found so far.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        """Take the step's name apart."""
        self.options = options
        self.kind, *self.arguments = options.step.split(':')
        self.figures: dict[str, Any] = {}

    def keep(self, **figures: Any) -> None:
        """Add figures, and write them all: they outlive the process, however it ends."""
        self.figures.update(figures)
        path = figures_path(self.options.out, self.options.step)
        path.parent.mkdir(exist_ok=True)
        draft = path.with_suffix('.draft')
        draft.write_text(json.dumps(self.figures))
        draft.replace(path)

    def folder(self, *parts: str) -> Path:
        """A folder of this benchmark."""
        return Path(self.options.out, *parts)

    def bundle_folder(self, precision: str = 'trained') -> Path:
        """Where the model's bundle is, as it was trained or with an engine."""
        return self.folder('bundles', precision, model_folder(self.arguments[0]))


def run_step(options: argparse.Namespace) -> None:
    """Run the step that the options name."""
    step = Step(options)
    if step.kind not in KINDS:
        sys.exit(f'error: unknown step {step.kind!r}; known: {", ".join(KINDS)}')
    KINDS[step.kind](step)


def draw(step: Step) -> None:
    """Note what this machine is, and draw the images."""
    from adet_training.versions import library_versions

    gpu, ours = find_gpu(), _find_ours()
    step.keep(
        gpu=gpu.name,
        capability=gpu.capability,
        cores=os.cpu_count(),
        ours=ours.label,
        failed={'TensorRT': ours.reason} if ours.reason else {},
        versions={**library_versions('torch', 'onnxruntime', 'numpy'), **ours.versions},
        options={name: str(value) for name, value in vars(step.options).items()},
    )
    draw_once(step)


def train_model(step: Step) -> None:
    """Train a model on the drawn images."""
    from adet_training.parameters import parse_settings
    from adet_training.train import train, TrainConfig

    (model,) = step.arguments
    prefix = f'{model}.'
    words = [w.removeprefix(prefix) for w in step.options.set if w.startswith(prefix)]
    config = TrainConfig(
        model=model,
        category=_CATEGORY,
        data_root=step.folder('data'),
        models_root=step.folder('models'),
        backbone_weights=step.options.backbone_weights,
        settings={'image_size': step.options.image_size, **parse_settings(words)},
    )
    run = train(config)
    copy_bundle(run.bundle, step.bundle_folder())
    manifest = run.bundle.manifest
    step.keep(
        model=model,
        backbone=manifest.backbone and manifest.backbone.name,
        hyper_parameters=manifest.hyper_parameters,
        statistics={name: array.shape for name, array in run.bundle.statistics().items()},
        fit_seconds=run.fit_seconds,
        image_auroc=manifest.metrics.get('image_auroc'),
    )


def build_engine(step: Step) -> None:
    """Export a model in one precision, build its engine, check it, and test it on the GPU."""
    from adet_training.export import export

    precision = step.arguments[1]
    data = load_data(step)
    bundle = copy_bundle(open_bundle(step.bundle_folder()), step.bundle_folder(precision))
    # fp16 is tested below, where it runs: on the processor that takes minutes.
    given = data if precision == 'int8' else None
    start = time.perf_counter()
    try:
        export(bundle, precision=precision, data=given, options=BuildOptions(max_batch=BATCH))
    except ExportError as error:
        # No failure of the step: adet refuses what costs accuracy, and says so.
        step.keep(refused=str(error))
        return
    step.keep(export_seconds=time.perf_counter() - start)
    start = time.perf_counter()
    backend = _load(bundle.folder, build=True).backend
    step.keep(build_seconds=time.perf_counter() - start, name=backend.name)
    golden, manifest = bundle.golden(), bundle.manifest
    parity = measure_parity(
        backend,
        *golden,
        threshold=manifest.image_threshold.value,
        span=manifest.score_range.span,
        precision=precision,
    )
    step.keep(drift=parity.score_difference / manifest.score_range.span, flips=parity.flips or 0)
    images = np.stack([labelled.pixels for labelled in data.test])
    scores = np.concatenate(
        [backend.run(images[n : n + BATCH]).scores for n in range(0, len(images), BATCH)]
    )
    labels = np.array([labelled.is_anomalous for labelled in data.test])
    step.keep(image_auroc=auroc(scores, labels))


def compile_with_torch(step: Step) -> None:
    """Compile a model in all ways, so that `measure` finds the kernels in torch's cache."""
    bundle = open_bundle(step.bundle_folder())
    seconds: dict[str, float] = {}
    for way in COMPILED:
        start = time.perf_counter()
        run = _torch(bundle, way)
        for count in (1, BATCH):
            run(_some(bundle, count))
        seconds[way] = time.perf_counter() - start
        step.keep(seconds=seconds)


def measure(step: Step) -> None:
    """Measure TensorRT, torch and ONNX Runtime side by side, at batch 1 and 16."""
    (model,) = step.arguments
    bundle = open_bundle(step.bundle_folder())
    makers: dict[str, Callable[[], Run]] = {}
    label = _find_ours().label
    for precision in BANDS:
        if figures_path(step.folder(), f'engine:{model}:{precision}').is_file():
            makers[f'{label} {precision}'] = partial(_engine, step.bundle_folder(precision))
    for way in ('torch fp32', 'torch fp16', *_compiled(step, model)):
        makers[way] = partial(_torch, bundle, way)
    makers.setdefault(f'{ONNX_RUNTIME} fp32', partial(_onnx_runtime, step.bundle_folder('fp32')))
    _wake_torch()
    ways = _open_ways(step, makers, bundle)
    for count in (1, BATCH):
        _measure(step, f'batch_{count}', ways, _some(bundle, count), f'{label} fp16')


def measure_variants(step: Step) -> None:
    """Measure the engine in fp16 through a package, by its number of streams and CUDA graphs.

    Also one image after the other, the next one begun before the prediction is waited for.
    """
    if (ours := _find_ours()).reason:
        step.keep(refused=ours.reason)
        return
    _, package = step.arguments
    os.environ['ADET_CUDA'] = package
    folder = step.bundle_folder('fp16')
    bundle = open_bundle(folder)
    backends: dict[str, Backend] = {}

    def make(name: str, streams: int, graphs: int) -> Run:
        os.environ['ADET_CUDA_STREAMS'] = str(streams)
        os.environ['ADET_CUDA_GRAPHS'] = str(graphs)
        backends[name] = Detector.load(folder, backend='tensorrt', build=False).backend
        return backends[name].run

    makers: dict[str, Callable[[], Run]] = {}
    for streams, graphs in product((1, 2), (0, 1) if package == 'cuda-python' else (0,)):
        name = f'{package}, streams: {streams}{", graphs" if graphs else ""}'
        makers[name] = partial(make, name, streams, graphs)
    ways = _open_ways(step, makers, bundle)
    step.keep(names={name: backends[name].name for name in ways})
    reference = next(iter(makers))
    for count in (1, BATCH):
        _measure(step, f'batch_{count}', ways, _some(bundle, count), reference)
    singly = {name: partial(_singly, backends[name]) for name in ways}
    _measure(step, 'singly', singly, _some(bundle, BATCH), reference)


def swap_statistics(step: Step) -> None:
    """Inspect in one thread while another loads the bundle again and again.

    Notes the longest time from one result to the next, without swaps and with them, and how much
    memory is used up.
    """
    folder = step.bundle_folder('fp16')
    current = [_load(folder)]
    images = list(_some(current[0].bundle, BATCH))

    def swap() -> float:
        start = time.perf_counter()
        current[0] = _load(folder, beside=[current[0]])
        return (time.perf_counter() - start) * 1e3

    def inspect(frames: int, times: list[float]) -> None:
        for number in range(frames):
            current[0].run([images[number % len(images)]])
            times.append(time.perf_counter())

    quiet: list[float] = []
    busy: list[float] = []
    spent: list[float] = []
    frames, swaps = step.options.frames, step.options.swaps
    for _ in range(_FIRST_SWAPS):
        swap()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(inspect, frames // 10, quiet).result()
        before = -_free_memory(), _resident()
        inspecting = pool.submit(inspect, frames, busy)
        for number in range(swaps):
            # Spread over all frames.
            while not inspecting.done() and len(busy) < frames * number // swaps:
                time.sleep(1e-4)
            spent.append(swap())
        inspecting.result()
    after = -_free_memory(), _resident()
    gaps = {name: np.diff(times) * 1e3 for name, times in (('quiet', quiet), ('swapping', busy))}
    step.keep(
        frames=len(busy),
        swaps=swaps,
        frame_ms=float(np.median(gaps['quiet'])),
        longest_gap_ms={name: float(found.max()) for name, found in gaps.items()},
        swap_ms=float(np.median(spent)),
        growth_mib={
            name: (now - then) / (1 << 20)
            for name, now, then in zip(('device', 'host'), after, before, strict=True)
        },
    )


def draw_once(step: Step) -> None:
    """Draw the images, unless another process has."""
    from adet_synth import write_dataset

    root = step.folder('data')
    with locked(step.folder('data.lock'), fcntl.LOCK_EX):
        if root.is_dir():
            return
        train, normal, anomaly = step.options.images
        write_dataset(
            root,
            category=_CATEGORY,
            train=train,
            test_normal=normal,
            test_anomaly=anomaly,
            size=step.options.image_size,
            seed=0,
        )


def load_data(step: Step, root: Path | None = None, category: str = _CATEGORY) -> Category:
    """The drawn images, or others."""
    from adet_core.geometry import Geometry
    from adet_training.dataset import load_category

    geometry = Geometry.whole((step.options.image_size,) * 2)
    return load_category(root or step.folder('data'), category, geometry)


@contextmanager
def locked(path: Path, kind: int) -> Iterator[None]:
    """Hold the lock of a file, see `fcntl.flock`; the end of the process frees it, too."""
    with path.open('w') as file:
        fcntl.flock(file, kind)
        yield


def _learn_curve(step: Step) -> None:
    from gpu_curve import learn_curve

    learn_curve(step)


def _some(bundle: Bundle, count: int) -> Images:
    """So many images of a bundle."""
    images = bundle.golden().images
    return np.resize(images, (count, *images.shape[1:]))


def _open_ways(
    step: Step, makers: Mapping[str, Callable[[], Run]], bundle: Bundle
) -> dict[str, Run]:
    """Make all ways and run them once; note their memory, and why others cannot be had."""
    ways: dict[str, Run] = {}
    memory: dict[str, float] = {}
    failed: dict[str, str] = {}
    for name, make in makers.items():
        before = _free_memory()
        try:
            run = make()
            for count in (1, BATCH):
                run(_some(bundle, count))
        except Exception as error:  # noqa: BLE001 - of whatever library: the others go on
            failed[name] = f'{type(error).__name__}: {error}'.splitlines()[0]
        else:
            ways[name] = run
            memory[name] = (before - _free_memory()) / (1 << 20)
        step.keep(device_mib=memory, failed=failed)
    return ways


def _measure(
    step: Step, name: str, ways: Mapping[str, Run], images: Images, reference: str
) -> None:
    """Note how long each way takes, as percentiles, and how that compares with a reference's."""
    times = _take_turns(ways, images, step.options.seconds)
    found = {
        way: {
            'rounds': len(spent),
            'ms': _percentiles(np.array(spent), (5, 25, 50, 75, 95)),
            # Of neighbours in time: what slows one round slows both.
            'ratio': _percentiles(np.array(spent) / np.array(times[reference]), (25, 50, 75))
            if reference in times
            else None,
        }
        for way, spent in times.items()
    }
    step.keep(**{name: found})


def _percentiles(values: npt.NDArray[np.float64], which: tuple[int, ...]) -> dict[str, float]:
    return {str(one): float(np.percentile(values, one)) for one in which}


def _singly(backend: Backend, images: Images) -> None:
    """Run images one by one, each begun before the one before is waited for."""
    finish = None
    for image in images:
        following = backend.start(image[None])
        if finish:
            finish()
        finish = following
    if finish:
        finish()


def _take_turns(ways: Mapping[str, Run], images: Images, seconds: float) -> dict[str, list[float]]:
    """Run all ways in turns for some seconds.

    Returns:
        By way, how long each run took in milliseconds, from images to prediction in host memory.
    """
    for run in ways.values():
        # TensorRT for RTX compiles kernels for a shape while the first runs use others.
        _repeat(run, images, _WARM_UP_S)
    times: dict[str, list[float]] = {name: [] for name in ways}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < _FEWEST_ROUNDS or time.perf_counter() < end:
        for name, run in ways.items():
            start = time.perf_counter()
            run(images)
            times[name].append((time.perf_counter() - start) * 1e3)
        rounds += 1
    return times


def _repeat(run: Run, images: Images, seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        run(images)


class _Ours(NamedTuple):
    """What adet runs graphs with on this GPU.

    Attributes:
        backend: Its name.
        label: In tables.
        reason: Why that is not TensorRT; empty if it is.
        versions: Of TensorRT, by the name of its module.
    """

    backend: str
    label: str
    reason: str = ''
    versions: Mapping[str, str] = {}


def _find_ours() -> _Ours:
    try:
        gpu, library = find_gpu(), find_library()
        library.check(gpu.name, gpu.capability)
    except BackendError as error:
        return _Ours('onnxruntime', ONNX_RUNTIME, str(error))
    return _Ours('tensorrt', 'TensorRT', versions={library.name: library.version})


def _load(folder: Path, *, build: bool = False, beside: Sequence[Detector] = ()) -> Detector:
    detector = Detector.load(folder, backend=_find_ours().backend, build=build, beside=beside)
    _check_gpu(detector.backend)
    return detector


def _engine(folder: Path) -> Run:
    return _load(folder).backend.run


def _onnx_runtime(folder: Path) -> Run:
    if not has_cuda():
        raise BackendError('this ONNX Runtime is not built with CUDA')
    backend = Detector.load(folder, backend='onnxruntime').backend
    _check_gpu(backend)
    return backend.run


def _check_gpu(backend: Backend) -> None:
    if backend.name.startswith('onnxruntime (CPU'):
        msg = f'{backend.name}: this benchmark is of the GPU'
        raise BackendError(msg)


def _compiled(step: Step, model: str) -> list[str]:
    """The ways that the step ``compile`` got done: the others may take for ever."""
    path = figures_path(step.options.out, f'compile:{model}')
    return list(json.loads(path.read_text())['seconds']) if path.is_file() else []


def _torch(bundle: Bundle, way: str) -> Run:
    """The same module in torch with its defaults, so fp32 is TF32 in convolutions."""
    import torch

    from adet_training.export import load_graph

    graph = load_graph(bundle)
    device = device_of_torch()
    module: Any = graph.module.eval().to(device)
    statistics = [one.to(device) for one in graph.inputs(bundle.statistics()).values()]
    if way in COMPILED:
        # Static shapes, one compilation for each batch: what torch does best.
        module = torch.compile(module, mode=COMPILED[way], dynamic=False)

    @torch.inference_mode()
    def run(images: Images) -> object:
        with torch.autocast(device.type, torch.float16, enabled='fp16' in way):
            score, anomaly_map = module(torch.from_numpy(images).to(device), *statistics)
        return score.cpu(), anomaly_map.cpu()

    return run


def device_of_torch() -> torch.device:
    """Where torch computes, chosen as the training chooses it."""
    import torch

    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def _wake_torch() -> None:
    """Let torch load its libraries, or the first model would seem to need their memory."""
    import torch

    ones = torch.ones(1, 8, 32, 32, device=device_of_torch())
    torch.nn.functional.conv2d(ones, ones[..., :3, :3]).flatten(1).mT @ ones.flatten(1)[:, :1]


def _free_memory() -> int:
    """Bytes of the device that nobody has taken."""
    gc.collect()
    if torch := sys.modules.get('torch'):
        torch.cuda.empty_cache()
    gpu = find_gpu()
    with gpu.current():
        return gpu.free_memory()


def _resident() -> int:
    """Bytes of this process in the host's memory."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE')


KINDS: Mapping[str, Callable[[Step], None]] = {
    'data': draw,
    'train': train_model,
    'engine': build_engine,
    'compile': compile_with_torch,
    'measure': measure,
    'variants': measure_variants,
    'swap': swap_statistics,
    'curve': _learn_curve,
}
"""What the first word of a step's name does."""
