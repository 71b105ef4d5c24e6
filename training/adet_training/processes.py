# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One training in several processes: who does what, and what they tell each other.

Each process has its blocks of the images, `is_mine`, and the first one has all else. Where there
is but one process, every function here returns what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
import os
import re
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed, nn

from adet_core.errors import AdetError

T = TypeVar('T')
Floats = npt.NDArray[np.float32]
Exchange = Callable[[Floats | None], list[Floats]]
"""Gives the batches of all processes in the order of these; each gives its own, or None."""

_LOST = re.compile(r'gloo|nccl|connection (closed|reset|refused)|broken pipe', re.IGNORECASE)
# A process that inspects alone, or waits for the first one to distil a teacher, is not dead.
_LONGEST_SILENCE = timedelta(hours=12)


class LostProcessError(AdetError):
    """Another process of this training is gone; why is said where it was started."""


@dataclass(frozen=True)
class Devices:
    """What a training runs on.

    Attributes:
        devices: Processes on each machine, with a GPU each where there are any.
        num_nodes: Machines.
        strategy: Lightning's, for a model that trains by steps; empty: the usual one.
        accelerator: ``auto``, ``cpu`` or ``gpu``.
    """

    devices: int = 1
    num_nodes: int = 1
    strategy: str = ''
    accelerator: str = 'auto'

    @property
    def count(self) -> int:
        """All processes."""
        return self.devices * self.num_nodes


_USUAL = Devices()
_devices = _USUAL


@contextmanager
def together(devices: Devices) -> Iterator[None]:
    """Meet the other processes of a training, as the environment of torchrun names them.

    Raises:
        LostProcessError: One of them ended during the block.
    """
    global _devices  # noqa: PLW0603 - torch's group is one of the whole process, too
    backend = 'cpu:gloo,cuda:nccl' if uses_gpu(devices) else 'gloo'
    try:
        if uses_gpu(devices):
            torch.cuda.set_device(local_rank())
        distributed.init_process_group(backend, timeout=_LONGEST_SILENCE)
        _devices = devices
        yield
    except (RuntimeError, ValueError) as error:
        if _LOST.search(str(error)) is None:
            raise
        msg = 'another process of this training ended before its time'
        raise LostProcessError(msg) from None
    finally:
        _devices = _USUAL
        if distributed.is_initialized():
            distributed.destroy_process_group()


def uses_gpu(devices: Devices) -> bool:
    """Whether each process trains on a GPU."""
    return devices.accelerator != 'cpu' and torch.cuda.is_available()


def count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is; the first one, 0, writes, prints and calibrates."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def local_rank() -> int:
    """Which of those on this machine this is."""
    return int(os.environ.get('LOCAL_RANK', '0'))


def is_mine(block: int) -> bool:
    """Whether this process reads and learns a block of images."""
    return block % count() == rank()


def trainer_options(*, by_steps: bool) -> dict[str, Any]:
    """What Lightning's Trainer is told; nothing where there is one process.

    Args:
        by_steps: Gradients are averaged over all processes. Else each trains by itself, and the
            model brings together what it needs.
    """
    if count() == 1:
        return {}
    from lightning.pytorch.plugins.environments import LightningEnvironment

    is_gpu = uses_gpu(_devices)
    options: dict[str, Any] = {
        'accelerator': 'gpu' if is_gpu else 'cpu',
        'plugins': [LightningEnvironment()],
        # Each process has its own images already.
        'use_distributed_sampler': False,
    }
    if not by_steps:
        return {**options, 'devices': [local_rank()] if is_gpu else 1}
    return {
        **options,
        'devices': _devices.devices,
        'num_nodes': _devices.num_nodes,
        'strategy': _devices.strategy or 'ddp_find_unused_parameters_true',
    }


def strategy() -> str:
    """The strategy of Lightning that was asked for; empty if none was."""
    return _devices.strategy


def collect(value: T) -> list[T]:
    """What every process gives, in their order, to each of them."""
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    distributed.all_gather_object(found, value)
    return found


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes; the others wait for it and get a copy."""
    if count() == 1:
        return make()
    found = [make() if rank() == 0 else None]
    distributed.broadcast_object_list(found, 0)
    return found[0]  # type: ignore[return-value]


def copy_from_first(module: nn.Module) -> None:
    """Give a module the weights that it has in the first process."""
    if count() > 1:
        for tensor in module.state_dict().values():
            distributed.broadcast(tensor, 0)


def add_up(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over all processes, in all of them; the tensor itself becomes it."""
    if count() > 1:
        distributed.all_reduce(tensor)
    return tensor


def in_first(array: Floats | None) -> list[Floats]:
    """An `Exchange` that gives whole arrays to the first process, and nothing to the others."""
    if count() == 1:
        return [] if array is None else [array]
    shapes = collect(None if array is None else array.shape)
    if rank():
        if array is not None:
            distributed.send(torch.from_numpy(np.ascontiguousarray(array)), 0)
        return []
    found = [] if array is None else [array]
    for source, shape in enumerate(shapes[1:], start=1):
        if shape is not None:
            received = torch.empty(shape)
            distributed.recv(received, source)
            found.append(received.numpy())
    return found


def by_position(features: Floats | None) -> list[Floats]:
    """An `Exchange` that gives each process its positions of all batches.

    Args:
        features: float32 ``(B, C, P)``.

    Returns:
        float32 ``(B, C, p)`` each; all ``p`` of all processes together are ``P``, in their order.
    """
    if count() == 1:
        return [] if features is None else [features]
    shapes = collect((0, 0, 0) if features is None else features.shape)
    positions = max(shape[2] for shape in shapes)
    if not positions:
        return []
    parts = np.array_split(np.arange(positions), count())
    own = len(parts[rank()])
    sent = np.empty(0, np.float32)
    if features is not None:
        sent = np.concatenate([features[:, :, part].ravel() for part in parts])
    sizes = [batch * channels * own for batch, channels, _ in shapes]
    received = torch.empty(sum(sizes))
    rows = 0 if features is None else features.shape[0] * features.shape[1]
    distributed.all_to_all_single(
        received, torch.from_numpy(sent), sizes, [rows * len(part) for part in parts]
    )
    return [
        one.numpy().reshape(batch, channels, own)
        for one, (batch, channels, _) in zip(received.split(sizes), shapes, strict=True)
        if batch
    ]


class InOrder:
    """The batches of all processes, one block each, in the order that one process has them in.

    What is added up in that order is the same to the last bit, however many processes there are.
    """

    def __init__(self, blocks: Mapping[int, Any] | Sequence[int], exchange: Exchange) -> None:
        """Begin.

        Args:
            blocks: Numbers of the blocks that this process will give batches of, ascending.
            exchange: Brings the batches of one round together, one of each process.
        """
        self._blocks, self._exchange = iter(list(blocks)), exchange
        last = max(collect(max(blocks, default=-1)))
        self._round, self._rounds = 0, last // count() + 1

    def add(self, batch: Floats) -> Iterator[Floats]:
        """The batches up to the round of this process's next block, whose batch is given."""
        own = next(self._blocks) // count()
        while self._round <= own:
            yield from self._exchange(batch if self._round == own else None)
            self._round += 1

    def rest(self) -> Iterator[Floats]:
        """The batches of the rounds in which this process has none any more."""
        while self._round < self._rounds:
            yield from self._exchange(None)
            self._round += 1
