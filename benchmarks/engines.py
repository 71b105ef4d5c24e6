# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT engines of bundles in each precision beside torch on the same GPU.

    python benchmarks/engines.py --bundles models/PaDiM models/PatchCore --data-root data

Each bundle is copied, exported and loaded as a node loads it, so the engine is built and compared
with the golden images first. Torch runs the same module, eagerly and compiled. A run begins with
images in the host's memory and ends with score and map there. All take turns. Memory is what the
device has less of with the model than without. Writes engines.json and prints a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import gc
import json
from pathlib import Path
import tempfile
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from adet_core.bundle import BuildOptions, Bundle, copy_bundle, open_bundle, read_record
from adet_core.inference.detector import Detector
from adet_core.inference.parity import BANDS
from adet_core.inference.tensorrt import find_gpu, find_library
from adet_core.progress import progress_bars, ProgressCallback
from adet_training.dataset import Category, load_category
from adet_training.export import export, load_weights
from adet_training.models import load_adapter
from adet_training.quiet import quiet_libraries
from adet_training.versions import library_versions

CollectedImages = npt.NDArray[np.uint8]
Run = Callable[[CollectedImages], object]
_WARM_UP = 50
_BATCH = 16


def main() -> None:
    """Export, build, measure, print and write."""
    arguments = _parse()
    gpu, library = find_gpu(), find_library()
    # What fp32 means to TensorRT here.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix='adet_benchmark_') as scratch,
        quiet_libraries(),
        progress_bars() as progress,
    ):
        for folder in arguments.bundles:
            rows += _measure(open_bundle(folder), Path(scratch), arguments, progress)
    result = {
        'gpu': gpu.name,
        'versions': {
            **library_versions('torch', 'onnxruntime', 'numpy'),
            library.name: library.version,
        },
        'rounds': arguments.rounds,
        'rows': rows,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + '\n')
    print(_table(rows))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bundles', nargs='+', type=Path, required=True, metavar='DIR')
    parser.add_argument('--data-root', type=Path, default=Path('data'), metavar='DIR')
    parser.add_argument('--rounds', type=int, default=1000)
    parser.add_argument('--out', type=Path, default=Path('engines.json'))
    return parser.parse_args()


def _measure(
    bundle: Bundle, scratch: Path, arguments: argparse.Namespace, progress: ProgressCallback
) -> list[dict[str, Any]]:
    """One row for each way to run a bundle."""
    manifest = bundle.manifest
    data = load_category(
        arguments.data_root, manifest.category, manifest.image.height, progress=progress
    )
    ways: dict[str, Run] = {}
    rows: dict[str, dict[str, Any]] = {}
    for precision in BANDS:
        name = f'TensorRT {precision}'
        copy = copy_bundle(bundle, scratch / precision / manifest.model)
        rows[name] = {'model': manifest.model, 'way': name}
        with _memory(rows[name]):
            ways[name] = _engine(copy, precision, data, rows[name], progress)
    for name, kind, compiled in (
        ('torch fp32', torch.float32, False),
        ('torch fp16', torch.float16, False),
        ('torch.compile fp32', torch.float32, True),
        ('torch.compile fp16', torch.float16, True),
    ):
        rows[name] = {'model': manifest.model, 'way': name}
        with _memory(rows[name]):
            ways[name] = _torch(bundle, kind, compiled=compiled)
    golden = bundle.golden()
    one = golden.images[:1]
    many = np.resize(golden.images, (_BATCH, *one.shape[1:]))
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ways}
    for number in range(_WARM_UP + arguments.rounds):
        for name, run in ways.items():
            for batch, found in zip((one, many), times[name], strict=True):
                start = time.perf_counter()
                run(batch)
                if number >= _WARM_UP:
                    found.append(time.perf_counter() - start)
        progress(f'measuring {manifest.model}', number + 1, _WARM_UP + arguments.rounds)
    for name, (single, batches) in times.items():
        rows[name]['p50_ms'], rows[name]['p95_ms'] = (
            float(value) * 1e3 for value in np.percentile(single, (50, 95))
        )
        rows[name]['per_second'] = _BATCH / float(np.median(batches))
    return list(rows.values())


def _engine(
    bundle: Bundle, precision: str, data: Category, row: dict[str, Any], progress: ProgressCallback
) -> Run:
    options = BuildOptions(max_batch=_BATCH)
    exported = export(bundle, precision=precision, data=data, options=options, progress=progress)
    detector = Detector.load(bundle.folder, backend='tensorrt', progress=progress)
    plan = read_record(bundle).plan
    assert plan is not None
    assert plan.parity is not None
    row['drift'] = plan.parity.score_difference / bundle.manifest.score_range.span
    row['image_auroc'] = exported.accuracy and exported.accuracy[1]
    return detector.backend.run


def _torch(bundle: Bundle, precision: torch.dtype, *, compiled: bool) -> Run:
    graph = load_adapter(bundle.manifest.model).graph(bundle.manifest, load_weights(bundle))
    device = torch.device('cuda')
    module: Any = graph.module.eval().to(device)
    statistics = [one.to(device) for one in graph.inputs(bundle.statistics()).values()]
    if compiled:
        module = torch.compile(module)

    @torch.inference_mode()
    def run(images: CollectedImages) -> object:
        with torch.autocast('cuda', torch.float16, enabled=precision == torch.float16):
            score, anomaly_map = module(torch.from_numpy(images).to(device), *statistics)
        return score.cpu(), anomaly_map.cpu()

    run(bundle.golden().images[:1])
    return run


@contextmanager
def _memory(row: dict[str, Any]) -> Iterator[None]:
    """Note how much less memory the device has after the block."""
    gpu = find_gpu()

    def free() -> int:
        gc.collect()
        torch.cuda.empty_cache()
        with gpu.current():
            return int(gpu.free_memory())

    before = free()
    yield
    row['memory_mib'] = (before - free()) / (1 << 20)


def _table(rows: list[dict[str, Any]]) -> str:
    heads = [
        'model',
        'way',
        'p50, ms',
        'p95, ms',
        f'images/s by {_BATCH}',
        'MiB',
        'drift',
        'AUROC',
    ]
    lines = ['| ' + ' | '.join(heads) + ' |', '|' + '---|' * len(heads)]
    for row in rows:
        cells = [row['model'], row['way'], f'{row["p50_ms"]:.2f}', f'{row["p95_ms"]:.2f}']
        cells += [f'{row["per_second"]:.0f}', f'{row["memory_mib"]:.0f}']
        cells += [f'{row["drift"]:.2g}' if 'drift' in row else '-']
        cells += [f'{row["image_auroc"]:.4f}' if row.get('image_auroc') else '-']
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
