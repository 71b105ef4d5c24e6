#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet export``, with the command line of the Jetson tutorial.

    python3 convtrt.py --model patchcore --fp16

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
    'allow_gpu_fallback': 'layers that a DLA cannot run go to the GPU',
    'save_timing': 'timings are kept without being asked for',
}


def main() -> int:
    """Run; returns what adet returns."""
    parser = parser_for(str(__doc__))
    parser.add_argument('--weights_pth', type=Path)
    parser.add_argument('--memory_bank', type=Path)
    parser.add_argument('--stats', type=Path)
    parser.add_argument('--fp16', action='store_true', help='adet export --precision fp16')
    parser.add_argument('--workspace', type=int, metavar='MiB', help='adet export --workspace')
    parser.add_argument('--use_dla', type=int, metavar='CORE', help='adet export --dla')
    for name in ('opset', 'out_dir', 'save_timing'):
        parser.add_argument(f'--{name}', help='taken, and not used')
    parser.add_argument(
        '--allow_gpu_fallback', action='store_const', const=True, help='taken, and not used'
    )
    arguments = parser.parse_args()
    try:
        folder = bundle_folder(arguments, 'weights_pth', 'memory_bank', 'stats')
    except AdetError as error:
        return fail(error)
    say_unused(arguments, _UNUSED)
    words = ['export', str(folder), '--precision', 'fp16' if arguments.fp16 else 'fp32']
    if arguments.workspace is not None:
        words += ['--workspace', str(arguments.workspace)]
    if arguments.use_dla is not None:
        words += ['--dla', str(arguments.use_dla)]
    return cli.main(words)


if __name__ == '__main__':
    sys.exit(main())
