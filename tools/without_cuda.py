# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Write constraints.txt without CUDA, and with torch as its own index builds it for CPUs.

    python tools/without_cuda.py https://download.pytorch.org/whl/cpu > constraints-cpu.txt

What is on PyPI needs NVIDIA's libraries to be imported at all, GPU or not.
"""

from __future__ import annotations

from pathlib import Path
import re
import sys
import urllib.error
import urllib.request

CONSTRAINTS = Path(__file__).parents[1] / 'constraints.txt'
_WAIT_S = 20
# TensorRT for RTX serves tests alone, which skip without it.
_LEFT_OUT = re.compile(r'(nvidia-|cuda-|triton|tensorrt-)')
_BUILT = re.compile(r'^(torch|torchvision)==([\d.]+)')


def without_cuda(constraints: str) -> str:
    """The packages that are left, a line each; builds for CPUs have ``+cpu`` in their version."""
    lines = [line for line in constraints.splitlines() if not _LEFT_OUT.match(line)]
    return ''.join(_BUILT.sub(r'\1==\2+cpu', line) + '\n' for line in lines)


def check_index(url: str) -> None:
    """Find out at once whether an index answers, which pip would try for minutes.

    Raises:
        SystemExit: It does not; says what to do.
    """
    try:
        with urllib.request.urlopen(f'{url.rstrip("/")}/torch/', timeout=_WAIT_S):  # noqa: S310
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, 'reason', error)
        msg = f'CPU=1 takes torch from {url}, which does not answer ({reason})'
        raise SystemExit(
            f'error: {msg}: leave CPU=1 out, or name a mirror: TORCH_INDEX=URL'
        ) from None


def main() -> None:
    """Write them to standard output."""
    check_index(sys.argv[1])
    sys.stdout.write(without_cuda(CONSTRAINTS.read_text('utf-8')))


if __name__ == '__main__':
    main()
