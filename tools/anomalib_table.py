#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Make the table of docs/models.md: which models of the installed Anomalib work with adet.

    tools/anomalib_table.py                     # all models, about half an hour
    tools/anomalib_table.py stfpm fastflow      # the rows of these; the other rows stay

Each is trained for a few steps on drawn images with random weights, exported, compared in ONNX
Runtime with the trained module, and built with TensorRT for RTX, which needs no GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
import json
from pathlib import Path
import re
import subprocess
import sys
import tempfile
from typing import Any

from adet_core.errors import AdetError, BackendError
from adet_core.inference.tensorrt.backend import build_for
from adet_core.inference.tensorrt.library import find_library
from adet_synth import write_dataset
from adet_training.anomalib_models import anomalib_models, REFUSED

ROOT = Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'models.md'
BEGIN, END = '<!-- made by tools/anomalib_table.py -->', '<!-- end of anomalib_table -->'
HEAD = (
    '| model | trains | agrees in ONNX Runtime | TensorRT for RTX builds |',
    '|---|---|---|---|',
)
_LIMIT_S = 240
_NO = 'no: '

_VIT = 'vit_small_patch14_reg4_dinov2'
_TOKENS = {'encoder_name': _VIT, 'image_size': 70, 'decoder_depth': 2}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    'anomaly_dino': {'image_size': 70},
    'cfa': {'backbone': 'resnet18'},
    'cflow': {'image_size': 128, 'fiber_batch_size': 16},
    'csflow': {'image_size': 256, 'cross_conv_hidden_channels': 16, 'n_coupling_blocks': 1},
    'dinomaly': _TOKENS,
    'draem': {'dtd_dir': ''},
    'dsr': {'image_size': 256},
    'foundad': {'encoder_name': 'dinov2_vit_small_14', 'image_size': 70},
    'fre': {'input_dim': 4096},
    'general_ad': {'backbone': _VIT, 'layers': [12], 'image_size': 70, 'hidden_dim': 64},
    'glass': {'backbone': 'resnet18', 'layers': ['layer2', 'layer3']},
    'inp_former': {'encoder_name': _VIT, 'image_size': 70},
    'l2bt': {'image_size': 224},
    'mh_patchcore': {'memory_bank_size': 50},
    'patchflow': {'image_size': 256},
    'rad': {'backbone': 'vit_small_patch16_dinov3'},
    'super_add': {'backbone': 'vit_small_patch16_dinov3', 'patch_size': 64},
    'supersimplenet': {'image_size': 256},
    'uflow': {'image_size': 256, 'backbone': 'resnet18'},
}
"""What makes a model small; all others have images of 64 pixels, and their own defaults."""


def try_model(name: str, folder: Path) -> list[str]:
    """Train, export and build one model; the cells of its row: ``yes``, or why not."""
    from adet_core.bundle import read_engine
    from adet_training.anomalib_adapter import AnomalibAdapter
    from adet_training.export import export
    from adet_training.quiet import quiet_libraries
    from adet_training.train import train, TrainConfig

    settings = {'image_size': 64, **SETTINGS.get(name, {})}
    cells: list[str] = []
    try:
        if 'steps' in AnomalibAdapter(name).parameters.__dataclass_fields__:
            settings = {'steps': 2, 'batch_size': 4, **settings}
        config = TrainConfig(
            model=name,
            category='plate',
            data_root=folder,
            models_root=folder / 'models',
            backbone_weights='random',
            settings=settings,
        )
        with quiet_libraries():
            bundle = train(config).bundle
            cells.append('yes')
            export(bundle)
        cells.append('yes')
        build_for(bundle, read_engine(bundle), find_library(), None)
        cells.append('yes')
    except AdetError as error:
        text = re.sub(r'^\S+/pytorch: ', '', str(error)).replace(f'{folder}', '').replace('|', ' ')
        cells.append(_NO + ' '.join(text.split())[:160])
    return [*cells, '', ''][:3]


def rows_of(names: Iterable[str]) -> dict[str, str]:
    """The row of each model; one that is refused is not tried."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        write_dataset(
            Path(scratch),
            category='plate',
            train=6,
            test_normal=3,
            test_anomaly=3,
            size=128,
            seed=4,
        )
        for name in names:
            cells = [_NO + REFUSED[name], '', ''] if name in REFUSED else _in_child(name, scratch)
            found[name] = f'| `{name}` | {" | ".join(cells)} |'
            print(found[name], flush=True)
    return found


def _in_child(name: str, scratch: str) -> list[str]:
    """In a process of its own: a model may take any time, or all memory."""
    command = [sys.executable, '-W', 'ignore', __file__, name, '--in', scratch]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return [f'{_NO}not in {_LIMIT_S} s', '', '']
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return [f'{_NO}{done.stderr.strip().splitlines()[-1][:160]}', '', '']
    cells: list[str] = json.loads(done.stdout.splitlines()[-1])
    return cells


def main() -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('models', nargs='*', choices=[*anomalib_models(), []])
    parser.add_argument('--in', dest='folder', type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        print(json.dumps(try_model(arguments.models[0], arguments.folder)))
        return 0
    try:
        find_library()
    except BackendError as error:
        raise SystemExit(f'error: {error}') from None
    made = rows_of(arguments.models or anomalib_models())
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    table, end, after = rest.partition(END)
    rows = dict(re.findall(r'^(?=\| `(\w+)`)(.*)$', table, re.MULTILINE)) | made
    lines = [begin, '', *HEAD, *(rows[name] for name in sorted(rows)), '', end]
    PAGE.write_text(before + '\n'.join(lines) + after)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
