# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet export``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, TYPE_CHECKING

from adet_core.bundle import BuildOptions, Bundle, Manifest, open_bundle, read_engine
from adet_core.cli.arguments import count
from adet_core.cli.next_command import next_command
from adet_core.errors import BackendError
from adet_core.inference.parity import BANDS
from adet_core.inference.tensorrt import build_for, find_gpu, find_library
from adet_core.models.names import model_folder
from adet_core.progress import progress_bars, ProgressCallback

if TYPE_CHECKING:
    from adet_training.export import Export

HELP = 'make the graph of a bundle in another precision, or an engine of TensorRT, and check it'
EXAMPLE = 'adet export models/PaDiM'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('bundle', type=Path, metavar='BUNDLE', help='a bundle folder')
    parser.add_argument(
        '--precision',
        choices=[*BANDS, 'auto'],
        default='fp32',
        help='precision of the graph; auto: the quickest here that passes the checks (default: '
        '%(default)s)',
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        default=Path('data'),
        metavar='DIR',
        help='for int8 and auto: holds train/, to calibrate on, and test/ (default: %(default)s)',
    )
    parser.add_argument(
        '--workspace',
        type=count,
        default=BuildOptions.workspace_mib,
        metavar='MiB',
        help='memory that a layer of a TensorRT engine may use (default: %(default)s)',
    )
    parser.add_argument(
        '--dla',
        type=count,
        metavar='CORE',
        help='let TensorRT use this deep learning accelerator, in fp16 (default: the GPU alone)',
    )
    parser.add_argument(
        '--max-batch',
        type=count,
        default=BuildOptions.max_batch,
        metavar='N',
        help='images of one run of a TensorRT engine at most (default: %(default)s)',
    )
    parser.add_argument(
        '--onnx-only', action='store_true', help='make engine/model.onnx and no other engine'
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Export; returns where the graph is and how well it agrees."""
    # Before torch is imported, which takes seconds: a wrong folder is answered at once.
    bundle = open_bundle(arguments.bundle)
    options = BuildOptions(
        workspace_mib=arguments.workspace,
        dla_core=BuildOptions.dla_core if arguments.dla is None else arguments.dla,
        max_batch=arguments.max_batch,
    )
    from adet_training.quiet import quiet_libraries

    with progress_bars() as progress, quiet_libraries():
        exported, precision, why = _export(arguments, bundle, options, progress)
        plan, note = _build(bundle, progress) if not arguments.onnx_only else (None, '')
    accuracy = exported.accuracy
    return {
        'onnx': str(exported.path),
        'plan': plan,
        'plan_note': note,
        'bundle_id': bundle.bundle_id,
        'precision': precision,
        'precision_note': why,
        'exact_graph': exported.is_exact,
        'pictures': exported.parity.pictures,
        'score_difference': exported.parity.score_difference,
        'map_difference': exported.parity.map_difference,
        'tolerance': exported.parity.tolerance,
        'map_tolerance': exported.parity.map_tolerance or exported.parity.tolerance,
        'image_auroc_fp32': accuracy[0] if accuracy else None,
        'image_auroc': accuracy[1] if accuracy else None,
        'next': _next(arguments, bundle.manifest),
    }


def _export(
    arguments: argparse.Namespace,
    bundle: Bundle,
    options: BuildOptions,
    progress: ProgressCallback,
) -> tuple[Export, str, str]:
    """The export, its precision, and why it is that one where it was left open."""
    from adet_training.auto_precision import export_quickest
    from adet_training.dataset import load_category
    from adet_training.export import export

    precision, category, data = arguments.precision, bundle.manifest.category, None
    root: Path = arguments.data_root
    is_auto = precision == 'auto'
    if precision == 'int8' or (is_auto and (root / 'train' / category).is_dir()):
        data = load_category(root, category, bundle.geometry(), progress=progress)
    if is_auto:
        return export_quickest(bundle, data=data, options=options, progress=progress)
    exported = export(bundle, precision=precision, data=data, options=options, progress=progress)
    return exported, precision, ''


def _next(arguments: argparse.Namespace, manifest: Manifest) -> str:
    """Inspect with a deployed bundle; deploy that of a run."""
    folder = arguments.bundle
    if folder.resolve().name != model_folder(manifest.model):
        return next_command('deploy', folder)
    test = arguments.data_root / 'test' / manifest.category
    source = test if test.is_dir() else 'camera:0'
    root = folder.parent if folder.name else folder / '..'
    return next_command('inspect', model=manifest.model, source=source, models_root=root)


def _build(bundle: Bundle, progress: ProgressCallback) -> tuple[str | None, str]:
    """Build TensorRT's engine where there is a TensorRT; its path if so, and a word about it."""
    try:
        library = find_library()
    except BackendError as error:
        return None, str(error)
    gpu, note = None, 'it is run and compared at the first start'
    try:
        gpu = find_gpu()
    except BackendError as error:
        if library.needs_gpu:
            return None, str(error)
        note = f'{error}; this shows that TensorRT takes the graph, a robot builds its own'
    try:
        return str(
            build_for(bundle, read_engine(bundle), library, gpu, progress=progress)[2]
        ), note
    except BackendError as error:
        msg = (
            f'{error}; the graph is exported: with --onnx-only the robot builds its engine itself'
        )
        raise BackendError(msg) from None


def show(result: dict[str, Any]) -> None:
    """Print where the graph is and how well it agrees."""
    print(f'exported {result["onnx"]}')
    print(
        f'agrees with the trained model on {result["pictures"]} images: score within '
        f'{result["score_difference"]:.2g}, map within {result["map_difference"]:.2g} '
        + (
            f'(allowed {result["tolerance"]:.2g} and {result["map_tolerance"]:.2g})'
            if result['precision'] == 'fp32'
            else f'(no verdict changed farther than {result["tolerance"]:.2g} from the threshold)'
        )
    )
    if result['precision_note']:
        print(f'in {result["precision"]}: {result["precision_note"]}')
    if result['exact_graph']:
        print('the quicker graph disagreed, so this is the exact one, which takes longer')
    if result['image_auroc'] is not None:
        print(f'image AUROC {result["image_auroc"]:.4f}, in fp32 {result["image_auroc_fp32"]:.4f}')
    if result['plan']:
        print(f'built {result["plan"]}: {result["plan_note"]}')
    elif result['plan_note']:
        print(f'no TensorRT engine: {result["plan_note"]}')
    print(f'next: {result["next"]}')
