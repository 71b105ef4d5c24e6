# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet record``."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
import re
import sys
import time
from typing import Any

from adet_core.cli.arguments import add_max_megapixels, add_models_root
from adet_core.cli.next_command import next_command
from adet_core.errors import BundleError, IncompleteError

_TOPIC = re.compile(r'/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*', re.ASCII)

HELP = 'write images and their labels as a rosbag'
EXAMPLE = 'adet record --images data/test/VisA_pipe_fryum --bag pipe_fryum'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        '--images',
        required=True,
        metavar='DIR',
        help='image folder, where normal and anomaly are labels; a video or bag will do too',
    )
    parser.add_argument('--bag', type=Path, required=True, metavar='OUT', help='folder to make')
    parser.add_argument(
        '--storage',
        choices=('mcap', 'sqlite3'),
        default='mcap',
        help='form of the bag (default: %(default)s)',
    )
    parser.add_argument(
        '--compression',
        choices=('none', 'png', 'jpeg'),
        default='none',
        help='sensor_msgs/CompressedImage instead of Image (default: %(default)s)',
    )
    parser.add_argument(
        '--rate',
        type=_rate,
        default=10.0,
        metavar='HZ',
        help='images per second of the recording (default: %(default)g)',
    )
    parser.add_argument(
        '--topic',
        type=_topic,
        default='image_raw',
        help='topic of the images (default: %(default)s)',
    )
    parser.add_argument(
        '--frame-id',
        default='camera',
        metavar='F',
        help='frame of the camera (default: %(default)s)',
    )
    add_max_megapixels(parser)
    # For the next command alone.
    add_models_root(parser)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Record; returns what there is in the bag.

    Raises:
        IncompleteError: The source could not give all its images.
    """
    from adet_core.io.open_source import open_source
    from adet_core.progress import progress_bars
    from adet_evaluation.bags import BagOptions, record_images

    source = open_source(arguments.images)
    options = BagOptions(
        start_ns=time.time_ns(),
        rate=arguments.rate,
        topic=arguments.topic,
        frame_id=arguments.frame_id,
        storage=arguments.storage,
        compression=arguments.compression,
    )
    with progress_bars() as progress:
        made = record_images(source, arguments.bag, options, progress=progress)
    bundles = _bundles_for(arguments.images, arguments.models_root)
    for warning in source.warnings:
        print(f'warning: {warning}', file=sys.stderr)
    result = {
        'bag': str(arguments.bag),
        **made._asdict(),
        'lost': source.lost,
        'warnings': list(source.warnings),
        'next': next_command('evaluate', bag=arguments.bag, bundle=bundles) if bundles else None,
    }
    if source.lost != 0:
        count = 'nobody knows how many' if source.lost is None else source.lost
        msg = f'{arguments.images}: images lost: {count}; the source is cut short or damaged'
        raise IncompleteError(msg, result)
    return result


def show(result: dict[str, Any]) -> None:
    """Print what was recorded."""
    print(f'{result["bag"]}: {result["pictures"]} images on {result["topic"]}')
    if result['unreadable']:
        print(f'  {result["unreadable"]} could not be read; the bag says so of each')
    if result['next']:
        print(f'next: {result["next"]}')
    else:
        print('next: deploy a bundle to evaluate the bag with, or name its folder: --models-root')


def _bundles_for(images: str, models_root: Path) -> list[Path]:
    """Deployed bundles of the category whose images were recorded; all, if none is of it."""
    from adet_core.bundle import open_bundle
    from adet_core.run_folders import deployed_folders

    folders = deployed_folders(models_root)
    parts = Path(images).parts
    fitting = []
    for folder in folders:
        with suppress(BundleError):
            fitting += [folder] if open_bundle(folder).manifest.category in parts else []
    return fitting or folders


def _topic(text: str) -> str:
    # What `ros2 bag play` could publish on.
    if not _TOPIC.fullmatch(text):
        msg = f'{text!r:.80} is not a topic: letters, digits and _, separated by /'
        raise argparse.ArgumentTypeError(msg)
    return text


def _rate(text: str) -> float:
    rate = float(text)
    if not 1e-6 <= rate <= 1e6:
        msg = f'{text!r} is not a rate (0.000001 to 1000000)'
        raise argparse.ArgumentTypeError(msg)
    return rate
