# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Options for a training in several processes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
import os
from typing import TYPE_CHECKING

from adet_core.progress import progress_bars, ProgressCallback, silent

if TYPE_CHECKING:
    from adet_training.processes import Devices


def add_devices(parser: argparse.ArgumentParser) -> None:
    """Declare them; what is not given is what torchrun started, or one process."""
    parser.add_argument(
        '--devices',
        type=int,
        metavar='N',
        help='train in N processes on each machine, with a GPU each where there are any '
        '(default: 1, or as many as torchrun started)',
    )
    parser.add_argument(
        '--num-nodes',
        type=int,
        metavar='N',
        help='machines, on each of which torchrun starts this command (default: as torchrun says)',
    )
    parser.add_argument(
        '--strategy',
        default='',
        metavar='NAME',
        help="Lightning's, for a model that trains by steps, e.g. ddp "
        '(default: ddp_find_unused_parameters_true)',
    )
    parser.add_argument(
        '--accelerator',
        choices=('auto', 'cpu', 'gpu'),
        default='auto',
        help='what to train on (default: %(default)s: GPUs where there are any)',
    )


def devices_of(arguments: argparse.Namespace) -> Devices | None:
    """What the options and torchrun ask for; None: one process, as usual. Else imports torch.

    Raises:
        adet_core.errors.ConfigError: There are no such devices.
    """
    given = (arguments.devices, arguments.num_nodes, arguments.strategy, arguments.accelerator)
    if given == (None, None, '', 'auto') and 'LOCAL_WORLD_SIZE' not in os.environ:
        return None
    if arguments.accelerator == 'cpu':
        # Before torch looks: nothing else of this command is to run on them.
        os.environ['CUDA_VISIBLE_DEVICES'] = ''
    from adet_training.launch import find_devices

    devices = find_devices(*given)
    return devices if devices.count > 1 else None


@contextmanager
def first_ones_progress() -> Iterator[ProgressCallback]:
    """Bars in the first process of a training, nothing in the others."""
    if os.environ.get('RANK', '0') != '0':
        yield silent
        return
    with progress_bars() as progress:
        yield progress
