# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of ``result_forwarder``, which its launch file offers as arguments."""

from __future__ import annotations

from dataclasses import dataclass

from adet.parameters import option


@dataclass(frozen=True, kw_only=True)
class ForwarderOptions:
    """Parameters of ``result_forwarder``."""

    config: str = option('file of the outputs, as config/forward.yaml')
    models: str = option('model whose rows are forwarded, or several with commas', default='padim')
    output_dir: str = option('folder of the result files', default='.')
    queue_dir: str = option(
        'folder for what is not delivered yet; empty: forwarder in output_dir', default=''
    )


@dataclass(frozen=True, kw_only=True)
class ForwarderLaunchOptions(ForwarderOptions):
    """Launch arguments of the forwarder."""

    namespace: str = option('namespace of the inspection', default='')
