# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The node ``fleet_agent`` lets the running detector take what a hawkBit server rolls out."""

from __future__ import annotations

from pathlib import Path
import shutil
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from hawkbit import HawkBit, TOKEN
import pytest

pytest.importorskip('cryptography', reason='cryptography is not installed')

from adet_core.bundle import open_bundle
from adet_core.errors import ConfigError
from adet_fleet.keys import make_keys, Signer
from adet_fleet.node import FleetAgent
from adet_fleet.publish import publish

pytestmark = pytest.mark.ros


def test_a_roll_out_reaches_the_running_detector(ros: Any, deployed: Any, tmp_path: Path) -> None:
    models_root = shutil.copytree(deployed.models_root, tmp_path / 'models')
    public = make_keys(tmp_path / 'fleet.key')
    publish(deployed.bundle, str(tmp_path / 'store'), Signer(tmp_path / 'fleet.key'))
    (tmp_path / 'token').write_text(TOKEN.removeprefix('TargetToken '))
    hawkbit = HawkBit()
    files = (tmp_path / 'store').rglob('*')
    hawkbit.artifacts = {path.name: path.read_bytes() for path in files if path.is_file()}
    hawkbit.action = '41'
    ros.detector(deployed._replace(models_root=models_root))
    ros.start(
        FleetAgent,
        server=hawkbit.url,
        key=str(public),
        models_root=str(models_root),
        controller_id='robot 7',
        token_file=str(tmp_path / 'token'),
    )
    ros.until(lambda: not hawkbit.action, 'feedback')
    hawkbit.close()
    assert hawkbit.feedback[-1] == ('41', 'closed', 'success')
    bundle_id = open_bundle(deployed.bundle).bundle_id
    assert f'the padim detector inspects with {bundle_id}' in hawkbit.details[-1]


def test_a_server_that_is_away_is_told_in_diagnostics(ros: Any, tmp_path: Path) -> None:
    public = make_keys(tmp_path / 'fleet.key')
    heard: list[DiagnosticStatus] = []
    ros.client.create_subscription(
        DiagnosticArray, '/diagnostics', lambda told: heard.extend(told.status), 10
    )
    with pytest.raises(ConfigError, match=r'none: No such file or directory; its first line'):
        ros.start(FleetAgent, server='http://a', key=str(public), token_file='none')
    ros.start(FleetAgent, server='http://127.0.0.1:9', key=str(public))
    ros.until(lambda: any('Connection refused' in one.message for one in heard), 'the failure')
