# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet distill``."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import Any

from adet_core.cli.arguments import add_max_megapixels, count
from adet_core.cli.next_command import next_command
from adet_core.progress import progress_bars
from adet_training.cli.loading import loading_libraries
from adet_training.cli.options import add_backbone_weights, add_seed
from adet_training.parameters import DEFAULT_BACKBONE, usual_layers

HELP = "make EfficientAD's teacher from a backbone and a folder of photographs"
EXAMPLE = 'adet distill teacher.pth --natural-images photographs'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('out', type=Path, metavar='OUT', help="the teacher's file, e.g. t.pth")
    parser.add_argument(
        '--natural-images',
        default='auto',
        metavar='DIR|imagenette|drawn|auto',
        help='photographs of anything, a few hundred or more; Imagenette, which is downloaded; '
        'or drawn textures (default: %(default)s: Imagenette where it can be had)',
    )
    parser.add_argument(
        '--model-size',
        choices=['small', 'medium'],
        default='small',
        help='size of the EfficientAD it is for (default: %(default)s)',
    )
    parser.add_argument(
        '--backbone',
        default=DEFAULT_BACKBONE,
        metavar='NAME',
        help="timm's name of the network it learns from (default: %(default)s)",
    )
    parser.add_argument(
        '--layers',
        default='',
        metavar='A,B',
        help='layers of the backbone, finest first (default: its usual ones at strides 8 and 16)',
    )
    add_backbone_weights(parser)
    parser.add_argument(
        '--pieces',
        type=count,
        default=512,
        metavar='N',
        help='image pieces that the last layer is solved with (default: %(default)s)',
    )
    parser.add_argument(
        '--steps',
        type=count,
        default=2000,
        metavar='N',
        help='training steps (default: %(default)s)',
    )
    add_seed(parser)
    add_max_megapixels(parser)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Distil; returns where the teacher is and how close it came."""
    from adet_training.quiet import quiet_libraries

    with progress_bars() as progress, quiet_libraries():
        with loading_libraries(progress):
            from adet_training.backbone import load_backbone
            from adet_training.distill import distill_file, IMAGE
            from adet_training.natural import DrawnImages, find_natural, open_natural
        usual = usual_layers(arguments.backbone)
        layers = arguments.layers.split(',') if arguments.layers else usual[1:]
        weights, seed = arguments.backbone_weights, arguments.seed
        found = find_natural(
            arguments.natural_images,
            progress=progress,
            tell=lambda line: print(line, file=sys.stderr),
        )
        error = distill_file(
            arguments.out,
            model_size=arguments.model_size,
            backbone=load_backbone(arguments.backbone, layers, weights, seed=seed),
            images=open_natural(found, IMAGE) or DrawnImages(IMAGE),
            solved=arguments.pieces,
            steps=arguments.steps,
            seed=seed,
            progress=progress,
        )
    settings = [f'teacher={arguments.out}', f'model_size={arguments.model_size}']
    return {
        'teacher': str(arguments.out),
        'model_size': arguments.model_size,
        'error': error,
        'next': next_command('train', model='efficientad', category='CATEGORY', set=settings),
    }


def show(result: dict[str, Any]) -> None:
    """Print how close it came and the next step."""
    print(f'mean squared error {result["error"]:.3f}, of features with variance 1')
    print(f'next: {result["next"]}')
