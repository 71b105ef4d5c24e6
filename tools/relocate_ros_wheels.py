# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Point the ROS wheels' CMake exports at this virtual environment.

The wheels were built in a container and their exports name that container's Python headers
(`/opt/python/cp311-cp311/...`), so that CMake refuses every message package built against them.
Run it with the environment's own Python, any number of times.
"""

from __future__ import annotations

from pathlib import Path
import re
import sys
import sysconfig

import numpy as np

BUILD_PYTHON = re.compile(r'/opt/python/cp\d+-cp\d+/[^";]*')


def relocate(path: Path) -> bool:
    """Replace one CMake file; whether anything had to change."""
    old = path.read_text(encoding='utf-8')
    new = BUILD_PYTHON.sub(_local_include, old)
    if new == old:
        return False
    # A hard link to the file in uv's cache, which other environments share.
    path.unlink()
    path.write_text(new, encoding='utf-8')
    return True


def _local_include(match: re.Match[str]) -> str:
    return np.get_include() if 'numpy' in match[0] else sysconfig.get_path('include')


def main() -> int:
    """Relocate every export below the environment's `share`."""
    exports = sorted(Path(sys.prefix, 'share').rglob('*.cmake'))
    if not exports:
        print(f'error: no CMake files in {sys.prefix}/share: no ROS wheels?', file=sys.stderr)
        return 1
    changed = sum([relocate(path) for path in exports])
    print(f'ROS wheels: {changed} of {len(exports)} CMake files relocated to {sys.prefix}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
