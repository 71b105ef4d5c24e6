# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The seconds in which a command imports torch and what is built on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os

from adet_core.cores import IdleCores
from adet_core.progress import ProgressCallback

_STAGE = 'loading libraries'


@contextmanager
def loading_libraries(progress: ProgressCallback) -> Iterator[None]:
    """Tell of the imports in the block; then torch takes as many threads as cores were idle."""
    progress(_STAGE, 0, 1)
    cores = IdleCores()
    yield
    limit_threads(cores.count())
    progress(_STAGE, 1, 1)


def limit_threads(count: int) -> None:
    """Let torch, its matrix products and OpenCV use this many threads from now on.

    Threads of torch wait for one another in a loop. Where another process takes the core of one of
    them, all lose a scheduler's time slice at every layer: a training takes many times longer.
    Somebody who has set OMP_NUM_THREADS has decided already.
    """
    if os.environ.get('OMP_NUM_THREADS'):
        return
    import cv2
    import torch

    torch.set_num_threads(count)
    cv2.setNumThreads(count)
