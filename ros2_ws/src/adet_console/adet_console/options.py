# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of ``console``, which its launch file offers as arguments."""

from __future__ import annotations

from dataclasses import dataclass

from adet.parameters import option


@dataclass(frozen=True, kw_only=True)
class ConsoleOptions:
    """Parameters of ``console``."""

    host: str = option(
        'address to bind to; other machines reach the console only at another than 127.0.0.1, '
        'which needs a password_file',
        default='127.0.0.1',
    )
    port: int = option('port to bind to', default=8765, minimum=0, maximum=65535)
    password_file: str = option(
        'file that adet console-password makes; empty: no password, on this machine alone',
        default='',
    )
    allowed_hosts: str = option(
        'names of this machine in browsers, separated by commas, beside its address', default=''
    )
    history: int = option('verdicts kept of each detector', default=2000, minimum=1)
    data_root: str = option('folder where the detectors store images', default='data')
    output_dir: str = option(
        'folder of the result files, whose last rows are shown, and of console_audit.jsonl',
        default='.',
    )


@dataclass(frozen=True, kw_only=True)
class ConsoleLaunchOptions(ConsoleOptions):
    """Launch arguments of the console."""

    namespace: str = option(
        'namespace of the node; it sees every namespace all the same', default=''
    )
