# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""How long a network takes on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import time

import torch
from torch import nn


@contextmanager
def _one_thread() -> Iterator[int]:
    """Let torch compute with one thread; gives the number that it has otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def time_network(network: nn.Module, edge: int = 256) -> float:
    """Milliseconds that an image of some edge takes where nothing else computes.

    It is one thread's processor time, the best of three, divided by torch's threads: what others
    compute meanwhile does not count, nor does what threads wait for each other.
    """
    image = torch.zeros(1, 3, edge, edge)
    taken = []
    with torch.inference_mode(), _one_thread() as threads:
        for _ in range(4):
            start = time.process_time()
            network(image)
            taken.append(time.process_time() - start)
    return 1e3 * min(taken[1:]) / threads
