# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of ``fleet_agent``, which its launch file offers as arguments."""

from __future__ import annotations

from dataclasses import dataclass

from adet.parameters import option


@dataclass(frozen=True, kw_only=True)
class FleetOptions:
    """Parameters of ``fleet_agent``."""

    server: str = option('address of the hawkBit server, https://HOST')
    key: str = option('file of the public keys whose releases are taken')
    models_root: str = option('folder of the models', default='models')
    tenant: str = option('tenant of the server', default='DEFAULT')
    controller_id: str = option('name of this robot there; empty: its host name', default='')
    token_file: str = option(
        'file whose first line is the token of this robot; empty: none', default=''
    )
    token_kind: str = option(
        'whose token that is', default='TargetToken', choices=('TargetToken', 'GatewayToken')
    )
    ca_file: str = option(
        'certificates to check the server with; empty: those of the system', default=''
    )


@dataclass(frozen=True, kw_only=True)
class FleetLaunchOptions(FleetOptions):
    """Launch arguments of the agent."""

    namespace: str = option('namespace of the inspection', default='')
