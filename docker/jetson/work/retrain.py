#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet retrain``, with the command line of the Jetson tutorial.

    python3 retrain.py --model patchcore --category VisA_pipe_fryum --data_root data

See docs/coming_from_the_jetson_tutorial.md.
"""

from __future__ import annotations

from pathlib import Path
import sys

from tutorial import bundle_folder, fail, parser_for, say_unused

from adet_core import cli
from adet_core.errors import AdetError

_UNUSED = {
    'epochs': 'adet retrain --set steps=N says how long EfficientAD and the VAE learn',
    'batch': 'it changes nothing that is learned',
    'out_dir': 'the result goes to retrain/ in the bundle, and into service if it is good enough',
    'log': 'progress is shown on a terminal, and in one line per stage elsewhere',
}


def main() -> int:
    """Run; returns what adet returns."""
    parser = parser_for(str(__doc__))
    parser.add_argument('--pretrained_pth', type=Path)
    parser.add_argument('--load_bank', type=Path)
    parser.add_argument('--load_stats', type=Path)
    parser.add_argument('--category', required=True, help='folder of data_root/train and /test')
    parser.add_argument('--data_root', type=Path, default=Path('data'))
    for name in _UNUSED:
        parser.add_argument(f'--{name}', help='taken, and not used')
    arguments = parser.parse_args()
    try:
        folder = bundle_folder(arguments, 'pretrained_pth', 'load_bank', 'load_stats')
    except AdetError as error:
        return fail(error)
    say_unused(arguments, _UNUSED)
    words = ['retrain', str(folder), '--incremental']
    words += ['--images', str(arguments.data_root / 'train' / arguments.category)]
    test = arguments.data_root / 'test' / arguments.category
    if test.is_dir():
        words += ['--test-dir', str(test)]
    return cli.main(words)


if __name__ == '__main__':
    sys.exit(main())
