# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet health`` beside real nodes."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import pytest

from adet.nodes.csv_recorder import CsvRecorder

# Longer than a node takes to be found and to speak; a healthy inspection is not waited for.
_WITHIN = ('--within', '30')
_HEALTH_CHECK = Path(__file__).parents[2] / 'deploy' / 'health.sh'


def health(*words):
    return subprocess.run(
        ['adet', 'health', *words], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def inspection(ros, deployed, tmp_path):
    """A detector and a recorder in a namespace of their own."""
    ros.detector(deployed)
    ros.start(CsvRecorder, models='padim', output_dir=str(tmp_path))
    return ros


def test_an_inspection_that_speaks_is_healthy(inspection):
    words = ('--model', 'padim', '--namespace', inspection.namespace, *_WITHIN)
    done = health(*words, '--json')
    assert (done.returncode, done.stderr) == (0, '')
    names = [f'{inspection.namespace}/{name}' for name in ('csv_recorder', 'padim_detector')]
    assert json.loads(done.stdout) == {'nodes': dict.fromkeys(names, 'ok')}
    assert health(*words).stdout == ''.join(f'{name}: ok\n' for name in names)


def test_a_silent_node_is_named(inspection):
    done = health(
        '--model', 'padim,patchcore', '--namespace', inspection.namespace, '--within', '5'
    )
    assert done.returncode == 1
    silent = f'{inspection.namespace}/patchcore_detector'
    assert done.stderr == f'error: nothing on /diagnostics from {silent} within 5 s\n'


@pytest.mark.usefixtures('inspection')
def test_the_same_names_in_another_namespace_do_not_count():
    done = health('--namespace', 'elsewhere', '--within', '5')
    assert done.returncode == 1
    assert '/elsewhere/csv_recorder, /elsewhere/padim_detector' in done.stderr


@pytest.mark.parametrize('level', [DiagnosticStatus.ERROR, DiagnosticStatus.STALE])
def test_an_error_is_passed_on(inspection, level):
    name = f'{inspection.namespace}/vae_detector'
    status = DiagnosticStatus(level=level, name=name, message='the GPU is gone')
    publisher = inspection.publisher(DiagnosticArray, '/diagnostics', 10)
    timer = inspection.client.create_timer(
        0.1, lambda: publisher.publish(DiagnosticArray(status=[status]))
    )
    done = health('--model', 'padim,vae', '--namespace', inspection.namespace, *_WITHIN)
    timer.cancel()
    assert done.returncode == 1
    assert done.stderr == f'error: {name} reports an error: the GPU is gone\n'


def test_a_warning_is_no_reason_to_restart(inspection):
    name = f'{inspection.namespace}/vae_detector'
    status = DiagnosticStatus(level=DiagnosticStatus.WARN, name=name, message='3 dropped')
    publisher = inspection.publisher(DiagnosticArray, '/diagnostics', 10)
    timer = inspection.client.create_timer(
        0.1, lambda: publisher.publish(DiagnosticArray(status=[status]))
    )
    done = health('--model', 'padim,vae', '--namespace', inspection.namespace, *_WITHIN)
    timer.cancel()
    assert done.returncode == 0, done.stderr
    assert f'{name}: 3 dropped\n' in done.stdout


def test_the_health_check_of_a_container_asks_for_its_own_inspection(inspection):
    def check(namespace):
        env = {**os.environ, 'ADET_MODEL': 'padim', 'ADET_NAMESPACE': namespace}
        return subprocess.run([_HEALTH_CHECK], env=env, timeout=120, check=False).returncode

    assert check(inspection.namespace) == 0
    assert check('elsewhere') == 1
