#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet export``, with the command line of the Jetson tutorial.

    python3 convtrt.py --model patchcore

See docs/coming_from_the_jetson_tutorial.md.
"""

from __future__ import annotations

from pathlib import Path
import sys

from tutorial import bundle_folder, fail, parser_for, say_unused

from adet_core import cli
from adet_core.errors import AdetError

_UNUSED = {
    'opset': 'adet export takes the one that all its backends read',
    'out_dir': 'the engine goes to engine/ in the bundle',
    **dict.fromkeys(
        ('fp16', 'workspace', 'use_dla', 'allow_gpu_fallback', 'save_timing'),
        'adet makes no TensorRT engine yet, ONNX Runtime runs the graph in fp32',
    ),
}


def main() -> int:
    """Run; returns what adet returns."""
    parser = parser_for(str(__doc__))
    parser.add_argument('--weights_pth', type=Path)
    parser.add_argument('--memory_bank', type=Path)
    parser.add_argument('--stats', type=Path)
    for name in ('opset', 'out_dir', 'workspace', 'use_dla', 'save_timing'):
        parser.add_argument(f'--{name}', help='taken, and not used')
    for name in ('fp16', 'allow_gpu_fallback'):
        parser.add_argument(
            f'--{name}', action='store_const', const=True, help='taken, and not used'
        )
    arguments = parser.parse_args()
    try:
        folder = bundle_folder(arguments, 'weights_pth', 'memory_bank', 'stats')
    except AdetError as error:
        return fail(error)
    say_unused(arguments, _UNUSED)
    return cli.main(['export', str(folder)])


if __name__ == '__main__':
    sys.exit(main())
