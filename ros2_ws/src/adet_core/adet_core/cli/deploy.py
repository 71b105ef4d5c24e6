# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet deploy``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from adet_core.cli.arguments import add_models_root

HELP = 'copy a trained bundle into the robot layout, verifying checksums'
EXAMPLE = 'adet deploy models/PaDiM/VisA_pipe_fryum/20261123_101500 --models-root /opt/models'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        'run_dir', type=Path, metavar='RUN_DIR', help='folder of a training run, or its pytorch/'
    )
    add_models_root(parser)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Copy; returns where the bundle is now and what it is."""
    from adet_core.bundle import copy_bundle, open_bundle
    from adet_core.models.names import model_folder

    source = arguments.run_dir
    if (source / 'pytorch').is_dir():
        source = source / 'pytorch'
    bundle = open_bundle(source)
    target = arguments.models_root / model_folder(bundle.manifest.model)
    deployed = copy_bundle(bundle, target)
    return {
        'bundle_dir': str(target),
        'bundle_id': deployed.bundle_id,
        'model': deployed.manifest.model,
        'category': deployed.manifest.category,
    }


def show(result: dict[str, Any]) -> None:
    """Print what was deployed and the next step."""
    what = f'{result["model"]} for {result["category"]}, bundle {result["bundle_id"]}'
    print(f'deployed {what} to {result["bundle_dir"]}')
    print(f'next: adet export {result["bundle_dir"]}')
