# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Starting the processes of one training, on this machine or as torchrun has done it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
import logging
from multiprocessing.connection import Connection, wait
import os
import signal
import socket
import sys
import time
from typing import Any, TypeVar

import torch
from torch import multiprocessing

from adet_core.cores import usable_cores
from adet_core.errors import AdetError, ConfigError, describe, is_debugging
from adet_training.limits import check
from adet_training.processes import Devices, LostProcessError, rank, together, uses_gpu

A = TypeVar('A')
T = TypeVar('T')

# What one process says of itself when another one was lost comes within this time.
_GRACE_S = 5.0
# These start processes themselves.
_NOT_OURS = ('spawn', 'fork', 'notebook')


def find_devices(
    devices: int | None,
    num_nodes: int | None,
    strategy: str,
    accelerator: str,
    environment: Mapping[str, str] = os.environ,
) -> Devices:
    """What a training is to run on; torchrun's environment says what is not given.

    Raises:
        ConfigError: There are no such devices here, or torchrun started other processes.
    """
    started = _started_by_torchrun(environment)
    here, everywhere = started or (1, 1)
    found = Devices(
        here if devices is None else devices,
        max(everywhere // here, 1) if num_nodes is None else num_nodes,
        strategy,
        accelerator,
    )
    check(found.devices >= 1, 'devices', found.devices, '1 or more')
    check(found.num_nodes >= 1, 'num_nodes', found.num_nodes, '1 or more')
    _check_strategy(strategy)
    check(not strategy or found.count > 1, 'strategy', strategy, 'none for one process')
    if accelerator == 'gpu' and not torch.cuda.is_available():
        msg = 'accelerator is gpu, but torch finds no GPU here; take --accelerator cpu'
        raise ConfigError(msg)
    if uses_gpu(found) and found.devices > torch.cuda.device_count():
        msg = f'devices is {found.devices}, but this machine has {torch.cuda.device_count()} GPUs'
        raise ConfigError(f'{msg}; take fewer, or --accelerator cpu')
    if started and (here, everywhere) != (found.devices, found.count):
        msg = (
            f'torchrun started {everywhere} processes, {here} of them here, but --devices and '
            f'--num-nodes ask for {found.devices} on each of {found.num_nodes} machines'
        )
        raise ConfigError(msg)
    if found.num_nodes > 1 and not started:
        msg = (
            f'num_nodes is {found.num_nodes}: start adet on each machine with torchrun '
            '--nnodes N --no-python adet train ...'
        )
        raise ConfigError(msg)
    return found


def _started_by_torchrun(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Processes on this machine, and all; None: nobody started any."""
    try:
        return int(environment['LOCAL_WORLD_SIZE']), int(environment['WORLD_SIZE'])
    except (KeyError, ValueError):
        return None


def _check_strategy(strategy: str) -> None:
    if not strategy:
        return
    from lightning.pytorch.strategies import StrategyRegistry

    known = [
        name
        for name in StrategyRegistry.available_strategies()
        if not any(word in name for word in _NOT_OURS)
    ]
    check(strategy in known, 'strategy', strategy, f'one of {", ".join(sorted(known))}')


def run_together(work: Callable[[A], T], argument: A, devices: Devices) -> T:
    """Do the same in all processes; the first one's result counts.

    Args:
        work: A function of a module, called in each process; `adet_training.processes` tells it
            which one it is.
        argument: For it; it is pickled.
        devices: How many processes.

    Raises:
        SystemExit: This is not the first process of those that torchrun started, and it is done.
        AdetError: One of them failed; its own line, or who killed it.
    """
    if _started_by_torchrun(os.environ):
        with together(devices):
            is_first, result = not rank(), work(argument)
        if not is_first:
            raise SystemExit(0)
        return result
    pipes = [multiprocessing.get_context('spawn').Pipe(duplex=False) for _ in range(devices.count)]
    writers = [writer for _, writer in pipes]
    with _shared_cores(devices.count):
        context = multiprocessing.start_processes(
            _child,
            (work, argument, devices, _free_port(), writers),
            devices.count,
            join=False,
            daemon=True,
            start_method='spawn',
        )
    for writer in writers:
        writer.close()
    try:
        return _outcome(context.processes, [reader for reader, _ in pipes])
    finally:
        for process in context.processes:
            process.kill()
            process.join()


def _child(
    number: int,
    work: Callable[[A], T],
    argument: A,
    devices: Devices,
    port: int,
    writers: list[Connection],
) -> None:
    """One process; sends its result, or the line of its error and whether another was lost."""
    everywhere = str(devices.count)
    os.environ.update(
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        RANK=str(number),
        LOCAL_RANK=str(number),
        WORLD_SIZE=everywhere,
        LOCAL_WORLD_SIZE=everywhere,
        GROUP_RANK='0',
    )
    logging.getLogger('torch').setLevel(logging.ERROR)
    answer: tuple[str, Any]
    try:
        with together(devices):
            answer = ('done', work(argument) if not number else work(argument) and None)
    except LostProcessError as error:
        answer = ('lost', str(error))
    except Exception as error:  # noqa: BLE001 - the process that started this one raises it
        if is_debugging() and not isinstance(error, (AdetError, OSError)):
            sys.excepthook(type(error), error, error.__traceback__)
        answer = ('failed', describe(error))
    writers[number].send(answer)
    sys.exit(answer[0] != 'done')


def _outcome(started: list[Any], readers: list[Connection]) -> Any:
    """The first process's result.

    Raises:
        AdetError: A process failed, or was killed.
    """
    answers: dict[int, tuple[str, Any]] = {}
    until: float | None = None
    running = list(started)
    while running and (until is None or time.monotonic() < until):
        wait([process.sentinel for process in running], timeout=0.2)
        for number, reader in enumerate(readers):
            try:
                if number not in answers and reader.poll():
                    answers[number] = reader.recv()
            except EOFError:
                answers[number] = ('lost', 'it sent nothing')
        if until is None and any(process.exitcode for process in started):
            until = time.monotonic() + _GRACE_S
        running = [process for process in running if process.exitcode is None]
    for number, process in enumerate(started):
        if (process.exitcode or 0) < 0:
            name = signal.Signals(-process.exitcode).name
            msg = f'process {number + 1} of {len(started)} of this training was killed by {name}'
            more = '; perhaps there is not enough memory' if name == 'SIGKILL' else ''
            raise AdetError(msg + more)
    failed = sorted((kind, text) for kind, text in answers.values() if kind != 'done')
    if failed:
        raise AdetError(failed[0][1])
    return answers[0][1]


@contextmanager
def _shared_cores(processes: int) -> Iterator[None]:
    """Let the processes that are started share the cores, unless somebody has said how."""
    if os.environ.get('OMP_NUM_THREADS'):
        yield
        return
    os.environ['OMP_NUM_THREADS'] = str(max(usable_cores() // processes, 1))
    try:
        yield
    finally:
        del os.environ['OMP_NUM_THREADS']


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        port: int = one.getsockname()[1]
        return port
