# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The seconds in which a command imports torch and what is built on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adet_core.progress import ProgressCallback
from adet_training.cores import IdleCores, limit_threads

_STAGE = 'loading libraries'


@contextmanager
def loading_libraries(progress: ProgressCallback) -> Iterator[None]:
    """Tell of the imports in the block; then torch takes as many threads as cores were idle."""
    progress(_STAGE, 0, 1)
    cores = IdleCores()
    yield
    limit_threads(cores.count())
    progress(_STAGE, 1, 1)
