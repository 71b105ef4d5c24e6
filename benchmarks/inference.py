# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One image at a time through adet and through what Anomalib offers, in turns.

    python benchmarks/inference.py --models padim patchcore efficientad vae
    python benchmarks/inference.py --models patchcore --set backbone=wide_resnet50_2
    python benchmarks/inference.py --bundles models/EfficientAD --precision int8 --data-root data

Each model is trained by `adet train` on drawn images, unless bundles are named, and exported by
`adet export`. Anomalib's
side is Anomalib's own module with the same weights and statistics: in torch, by TorchInferencer,
as its ONNX export in ONNX Runtime, and as its OpenVINO export (where openvino is installed), with
OpenVINO's own choice of precision; beside them AnomaVision (where it is installed). adet runs on
what `backend: auto` measures. All
begin with the same decoded image in memory and end with score and map. Anomalib's side is in
fp32 whatever ours is in. The share of the peak is that of the fastest product of two square
matrices on as many threads, and counts the operations of the model as adet exports it. Writes
inference.json and prints a table. It takes five minutes: each model has `--limit` seconds for its
turns; `--models` takes some of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
import json
import os
from pathlib import Path
from statistics import median, quantiles
import tempfile
import time
from typing import Any

from anomalib.deploy import TorchInferencer
from anomalib.post_processing import PostProcessor
from anomalib.pre_processing import PreProcessor
from anomavision_peer import anomavision
import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms.v2 import Normalize

from adet_core.bundle import Bundle, copy_bundle, open_bundle
from adet_core.image import Image, read_image
from adet_core.inference.detector import Detector
from adet_core.inference.parity import BANDS
from adet_core.io.folders import list_images
from adet_core.progress import progress_bars, ProgressCallback
from adet_synth import write_dataset
from adet_training.dataset import load_category
from adet_training.export import export, load_weights
from adet_training.models import load_adapter
from adet_training.parameters import make_parameters, parse_settings
from adet_training.quiet import quiet_libraries
from adet_training.train import train, TrainConfig
from adet_training.versions import library_versions

Prediction = Callable[[Image], object]
_WARM_UP, _LEAST = 3, 5
_REST_S = 0.05
_DRAWN = 'plate'


def main() -> None:
    """Train, measure, print and write."""
    arguments = _parse()
    os.environ['TRUST_REMOTE_CODE'] = '1'
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory(prefix='adet_benchmark_') as scratch, quiet_libraries():
        root = Path(scratch)
        write_dataset(
            root / 'data',
            category=_DRAWN,
            train=60,
            test_normal=10,
            test_anomaly=10,
            size=256,
            seed=0,
        )
        with progress_bars() as progress:
            learn = _named if arguments.bundles else _trained
            bundles = learn(arguments, root, progress)
            for bundle in bundles.values():
                _export(bundle, arguments, progress)
        images = [read_image(path) for path in list_images(root / 'data' / 'test')][:20]
        ways: dict[str, dict[str, Prediction]] = {}
        work, backends = {}, {}
        for name, bundle in bundles.items():
            detector = Detector.load(
                bundle.folder, threads=arguments.threads, backend=arguments.backend
            )
            backends[name] = f'{detector.backend.name}; {detector.backend_reason}'
            print(f'{name} on {backends[name]}')
            ways[name] = _ways(bundle, detector, root / name, arguments.threads)
            work[name] = _operations(bundle)
        times, peaks = _measure(ways, images, arguments.rounds, arguments.limit)
    result = {
        'threads': arguments.threads,
        'cores': os.cpu_count(),
        'settings': arguments.set,
        'backbone_weights': arguments.backbone_weights,
        'versions': {
            **library_versions('anomalib', 'torch', 'onnxruntime', 'numpy'),
            **_peers(),
        },
        'backends': backends,
        'peak_gflops': peaks,
        'models': {name: {'gflop': work[name] / 1e9, 'ms': one} for name, one in times.items()},
    }
    arguments.out.write_text(json.dumps(result, indent=2) + '\n')
    print(_table(times, work, median(peaks)))


def _peers() -> dict[str, str]:
    """Versions of those that may be missing."""
    return {
        name: version(name) for name in ('openvino', 'anomavision') if find_spec(name) is not None
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--models', nargs='+', default=['padim', 'patchcore', 'efficientad', 'vae']
    )
    parser.add_argument('--bundles', nargs='+', type=Path, metavar='DIR')
    parser.add_argument('--data-root', type=Path, default=Path('data'), metavar='DIR')
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE')
    parser.add_argument('--precision', choices=list(BANDS), default='fp32')
    parser.add_argument('--backbone-weights', default='random')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--rounds', type=int, default=30)
    parser.add_argument('--limit', type=float, default=45.0, metavar='S')
    parser.add_argument('--out', type=Path, default=Path('inference.json'))
    return parser.parse_args()


def _trained(
    arguments: argparse.Namespace, root: Path, progress: ProgressCallback
) -> dict[str, Bundle]:
    found = {}
    for name in arguments.models:
        # How well they learn is not the question; a bank of 10 000 is.
        settings = {
            'patchcore': ['coreset_ratio=0.2'],
            'efficientad': [
                'steps=2',
                # Anomalib's networks, whatever they learned.
                'teacher=distilled',
                'natural_images=drawn',
                'distill_pieces=8',
            ],
            'vae': ['steps=2', 'image_size=256'],
        }.get(name, [])
        config = TrainConfig(
            model=name,
            category=_DRAWN,
            data_root=root / 'data',
            models_root=root / 'models',
            backbone_weights=arguments.backbone_weights,
            settings=parse_settings([*settings, *arguments.set]),
        )
        found[name] = train(config, progress=progress).bundle
    return found


def _named(arguments: argparse.Namespace, root: Path, _: ProgressCallback) -> dict[str, Bundle]:
    bundles = [open_bundle(folder) for folder in arguments.bundles]
    return {
        one.manifest.model: copy_bundle(one, root / 'robot' / one.manifest.model)
        for one in bundles
    }


def _export(bundle: Bundle, arguments: argparse.Namespace, progress: ProgressCallback) -> None:
    manifest, data = bundle.manifest, None
    if arguments.precision != 'fp32':
        # What to calibrate with; how well it judges then, `adet export` tells.
        root, geometry = arguments.data_root, bundle.geometry()
        data = load_category(root, manifest.category, geometry, progress=progress)
        data = replace(data, test=[])
    export(bundle, precision=arguments.precision, data=data, progress=progress)


def _ways(bundle: Bundle, detector: Detector, folder: Path, threads: int) -> dict[str, Prediction]:
    """All that can inspect an image with this bundle, by name."""
    module = _anomalib(bundle)
    size = (bundle.manifest.image.height, bundle.manifest.image.width)

    @torch.inference_mode()
    def eager(image: Image) -> object:
        batch = module.pre_processor(torch.from_numpy(_batch(image)))
        return module.post_processor(module.model(batch))

    ways: dict[str, Prediction] = {'adet': detector.inspect, 'torch': eager}
    if bundle.manifest.model == 'vae':
        # Anomalib has none like it.
        return ways
    inferencer = TorchInferencer(module.to_torch(folder), device='cpu')
    ways['TorchInferencer'] = lambda image: inferencer.predict(_rgb(image))
    # Without this its PatchCore takes pairs of images only.
    single = {'dynamic_shapes': None}
    path = module.to_onnx(folder, input_size=size, **single)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    ways['anomalib ONNX'] = lambda image: session.run(None, {'input': _batch(image)})
    bank = len(next(iter(bundle.statistics().values()), ()))
    for name, answer in anomavision(
        bundle.manifest.model, size, bank, folder / 'anomavision', threads
    ).items():
        ways[name] = lambda image, answer=answer: answer(_batch(image))  # type: ignore[misc]
    try:
        import openvino
    except ModuleNotFoundError:
        print('no OpenVINO column: pip install openvino')
        return ways
    compiled = openvino.Core().compile_model(
        module.to_openvino(folder, input_size=size, onnx_kwargs=single),
        'CPU',
        {'INFERENCE_NUM_THREADS': threads, 'PERFORMANCE_HINT': 'LATENCY'},
    )
    ways['anomalib OpenVINO'] = lambda image: compiled(_batch(image))
    return ways


def _anomalib(bundle: Bundle) -> Any:
    """Anomalib's module with the weights, statistics and thresholds of a bundle."""
    manifest, weights = bundle.manifest, load_weights(bundle)
    adapter = load_adapter(manifest.model)
    # Open files are for learning, and cannot be saved for TorchInferencer.
    known = set(adapter.parameters.__dataclass_fields__) - {'natural_images'}
    values = {key: value for key, value in manifest.hyper_parameters.items() if key in known}
    parameters = make_parameters(adapter.parameters, values)
    if manifest.model in {'efficientad', 'vae'}:
        module = adapter.resume(parameters, manifest, weights)
    else:
        module = adapter.build(parameters, adapter.backbone(parameters, 'random', seed=0))
        statistics = {n: torch.from_numpy(array) for n, array in bundle.statistics().items()}
        extractor = module.model.feature_extractor.feature_extractor
        prefix = 'backbone.'
        tensors = {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
        # A bundle leaves out the blocks after the last layer that is read.
        found = extractor.load_state_dict(tensors, strict=False)
        assert not found.unexpected_keys
        module.pre_processor = PreProcessor(
            Normalize(list(manifest.image.mean), list(manifest.image.std))
        )
        if manifest.model == 'padim':
            module.model.idx = weights['idx']
            module.model.gaussian.mean = statistics['mean']
            module.model.gaussian.inv_covariance = statistics['inv_covariance']
        else:
            module.model.memory_bank = statistics['memory_bank']
            # Ours is slower and keeps more digits.
            del module.model.euclidean_dist
    post = PostProcessor()
    for prefix, threshold in (
        ('image', manifest.image_threshold),
        ('pixel', manifest.pixel_threshold),
    ):
        setattr(post, f'_{prefix}_threshold', torch.tensor(threshold.value))
        setattr(post, f'{prefix}_min', torch.tensor(manifest.score_range.minimum))
        setattr(post, f'{prefix}_max', torch.tensor(manifest.score_range.maximum))
    module.post_processor = post
    return module.eval()


def _rgb(image: Image) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(image.pixels[:, :, ::-1])


def _batch(image: Image) -> npt.NDArray[np.float32]:
    """As Anomalib's models take it: float32 ``(1, 3, H, W)``, RGB, 0 to 1."""
    channels = image.pixels[:, :, ::-1].transpose(2, 0, 1)[None]
    batch: npt.NDArray[np.float32] = np.multiply(
        channels, np.float32(1 / 255), dtype=np.float32, order='C'
    )
    return batch


def _operations(bundle: Bundle) -> int:
    """Floating-point operations of convolutions and products of matrices for one image."""
    manifest = bundle.manifest
    graph = load_adapter(manifest.model).graph(manifest, load_weights(bundle))
    image = torch.zeros(1, manifest.image.height, manifest.image.width, 3, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        graph(image, bundle.statistics())
    return int(counter.get_total_flops())


def _measure(
    ways: Mapping[str, Mapping[str, Prediction]], images: list[Image], rounds: int, limit: float
) -> tuple[dict[str, dict[str, list[float]]], list[float]]:
    """Milliseconds of each way, those of a model in turns; and the peak, as often.

    A model has ``limit`` seconds, but five turns.
    """
    times: dict[str, dict[str, list[float]]] = {
        name: {way: [] for way in ways[name]} for name in ways
    }
    peaks = []
    one, other = torch.rand(2, 1536, 1536)
    for name in ways:
        end = time.monotonic() + limit
        for number in range(_WARM_UP + rounds):
            if number >= _WARM_UP + _LEAST and time.monotonic() > end:
                break
            for way, answer in ways[name].items():
                # The threads of the one before still spin for a while.
                time.sleep(_REST_S)
                start = time.perf_counter()
                answer(images[number % len(images)])
                if number >= _WARM_UP:
                    times[name][way].append((time.perf_counter() - start) * 1e3)
            start = time.perf_counter()
            torch.matmul(one, other)
            if number >= _WARM_UP:
                peaks.append(2 * 1536**3 / (time.perf_counter() - start) / 1e9)
    return times, peaks


def _table(
    times: Mapping[str, Mapping[str, list[float]]], work: Mapping[str, int], peak: float
) -> str:
    ways = list(dict.fromkeys(way for one in times.values() for way in one))
    heads = ['model', *(f'{way}, ms' for way in ways), 'adet of the peak']
    lines = ['| ' + ' | '.join(heads) + ' |', '|' + '---|' * len(heads)]
    for name, one in times.items():
        ours = one['adet']
        cells = [f'{median(ours):.1f}']
        for way in ways[1:]:
            if way not in one:
                cells.append('-')
                continue
            # Neighbours in time are slowed alike.
            ratios = [theirs / mine for theirs, mine in zip(one[way], ours, strict=True)]
            low, middle, high = quantiles(ratios, n=4)
            cells.append(f'{median(one[way]):.1f}: {middle:.2f} ({low:.2f} to {high:.2f})')
        cells.append(f'{work[name] / median(ours) / 1e6 / peak:.0%}')
        lines.append('| ' + ' | '.join([name, *cells]) + ' |')
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
