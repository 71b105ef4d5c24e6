# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The graph as separate processes, as a launch file starts it, and what kills do to it."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import random
import shutil
import signal
import subprocess
import time

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from ament_index_python.packages import get_package_prefix

from adet_core.io.folders import list_images
from adet_core.records import read_records

pytestmark = pytest.mark.ros

_DEADLINE_S = 120.0


class Graph:
    """Source, detector and recorder, each in a process of its own."""

    def __init__(self, deployed, output: Path, namespace: str) -> None:
        self._namespace = namespace
        self._bin = Path(get_package_prefix('adet'), 'lib', 'adet')
        self._parameters = {
            'csv_recorder': {'output_dir': output, 'models': 'padim'},
            'padim_detector': {'models_root': deployed.models_root, 'frames': 'every'},
            'detector': {'models_root': deployed.models_root, 'frames': 'every'},
            'image_source': {
                'source': deployed.test_folder,
                'publish_rate': '0.0',
                'wait_for': 'padim',
            },
        }
        self.processes: dict[str, subprocess.Popen[str]] = {}

    def start(self, name: str, **parameters: object) -> subprocess.Popen[str]:
        words = [str(self._bin / name), '--ros-args', '-r', f'__ns:={self._namespace}']
        for key, value in {**self._parameters[name], **parameters}.items():
            words += ['-p', f'{key}:={value}']
        self.processes[name] = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return self.processes[name]

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


@pytest.fixture
def graph(deployed, tmp_path, request) -> Iterator[Graph]:
    made = Graph(deployed, tmp_path, f'/e2e_{abs(hash(request.node.name)) % 10**8}')
    yield made
    made.close()


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b'\n') - 1 if path.exists() else 0


def check_exact(path: Path, folder: Path) -> None:
    """Every image has exactly one row with a verdict, and every line is whole."""
    rows = list(read_records(path))
    assert sorted(row.source for row in rows) == [str(p) for p in list_images(folder)]
    assert all(row.score is not None and not row.error for row in rows)
    assert len({row.stamp_ns for row in rows}) == len(rows)


def test_separate_processes_record_every_image_once_and_stop_cleanly(graph, deployed, tmp_path):
    # The source first: nothing is lost because the others come late.
    source = graph.start('image_source')
    recorder, detector = graph.start('csv_recorder'), graph.start('padim_detector')
    assert source.wait(_DEADLINE_S) == 0
    check_exact(tmp_path / 'result_padim.csv', deployed.test_folder)
    for process, number in ((recorder, signal.SIGINT), (detector, signal.SIGTERM)):
        process.send_signal(number)
        output, _ = process.communicate(timeout=_DEADLINE_S)
        assert process.returncode == 0, output
        assert 'Traceback' not in output


def test_one_executable_runs_the_model_that_its_parameter_names(graph, deployed, tmp_path):
    graph.start('csv_recorder')
    detector = graph.start('detector', model='padim')
    source = graph.start('image_source')
    assert source.wait(_DEADLINE_S) == 0
    check_exact(tmp_path / 'result_padim.csv', deployed.test_folder)
    detector.send_signal(signal.SIGINT)
    output, _ = detector.communicate(timeout=_DEADLINE_S)
    assert detector.returncode == 0, output
    assert 'Traceback' not in output


@pytest.mark.parametrize('victim', ['csv_recorder', 'padim_detector'])
def test_a_node_killed_at_any_moment_and_started_again_loses_and_doubles_nothing(
    graph, deployed, tmp_path, victim
):
    results = tmp_path / 'result_padim.csv'
    total = len(list_images(deployed.test_folder))
    for name in ('csv_recorder', 'padim_detector'):
        graph.start(name)
    source = graph.start('image_source', publish_rate='20.0')
    chance = random.Random(victim)
    for goal in sorted(chance.sample(range(1, total - 2), 6)):
        deadline = time.monotonic() + _DEADLINE_S
        while lines_of(results) < goal:
            assert time.monotonic() < deadline, f'no row {goal}'
            assert source.poll() is None
            time.sleep(chance.uniform(0.001, 0.02))
        graph.kill(victim)
        graph.start(victim)
    assert source.wait(_DEADLINE_S) == 0
    check_exact(results, deployed.test_folder)


@pytest.mark.parametrize(
    ('name', 'parameters', 'message'),
    [
        ('image_source', {'source': '/nowhere'}, '/nowhere: no such folder'),
        ('padim_detector', {'models_root': '/nowhere'}, '/nowhere/PaDiM/meta.json: missing'),
        ('padim_detector', {'model': 'magic'}, "unknown model 'magic'; known models: efficientad"),
        (
            'detector',
            {'model': 'magic'},
            "unknown model 'magic'; known models: efficientad, padim",
        ),
        (
            'detector',
            {'model': "''"},
            'detector: parameter model is empty; name one of: efficientad, padim, patchcore, vae',
        ),
        ('csv_recorder', {'models': 'Magic'}, "unknown model 'Magic'; known models: efficientad"),
        ('csv_recorder', {'output_dir': '/proc/none'}, '/proc/none'),
    ],
)
def test_a_node_that_cannot_start_says_why_in_one_line(graph, name, parameters, message):
    process = graph.start(name, **parameters)
    output, _ = process.communicate(timeout=_DEADLINE_S)
    assert process.returncode == 1
    (line,) = [line for line in output.splitlines() if line.startswith('error: ')]
    assert message in line
    assert 'Traceback' not in output


def launch(deployed, output: Path, **arguments: object) -> subprocess.Popen[str]:
    """``ros2 launch adet inspect.launch.py``, in a session of its own."""
    if shutil.which('ros2') is None:
        pytest.skip('ros2 launch is not installed here: the launch file is not run')
    given = {
        'source': deployed.test_folder,
        'models_root': deployed.models_root,
        'output_dir': output,
        **arguments,
    }
    return subprocess.Popen(
        ['ros2', 'launch', 'adet', 'inspect.launch.py', *(f'{k}:={v}' for k, v in given.items())],
        env={**os.environ, 'ROS_LOG_DIR': str(output / 'log')},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill_in_session(leader: int, name: str) -> None:
    """Kill the one process of a session whose command line has a word."""
    found = subprocess.run(
        ['ps', '-ww', '-o', 'pid=,args=', '--sid', str(leader)],
        capture_output=True,
        text=True,
        check=True,
    )
    (pid,) = [int(line.split()[0]) for line in found.stdout.splitlines() if f'/{name} ' in line]
    os.kill(pid, signal.SIGKILL)


def wait_for_rows(path: Path, number: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while lines_of(path) < number:
        assert process.poll() is None, f'ended before row {number}'
        assert time.monotonic() < deadline, f'no row {number}'
        time.sleep(0.01)


def test_the_launch_file_runs_the_same_graph(deployed, tmp_path):
    launched = launch(deployed, tmp_path, namespace='launched')
    output, _ = launched.communicate(timeout=_DEADLINE_S)
    assert launched.returncode == 0, output
    assert 'process has died' not in output
    check_exact(tmp_path / 'result_padim.csv', deployed.test_folder)


def test_a_launch_with_respawn_survives_the_death_of_its_nodes(deployed, tmp_path):
    results = tmp_path / 'result_padim.csv'
    launched = launch(
        deployed, tmp_path, namespace='respawned', respawn='true', publish_rate='2.0'
    )
    for number, name in ((2, 'detector'), (5, 'csv_recorder')):
        wait_for_rows(results, number, launched)
        kill_in_session(launched.pid, name)
    output, _ = launched.communicate(timeout=_DEADLINE_S)
    assert launched.returncode == 0, output
    assert output.count('process has died') == 2
    check_exact(results, deployed.test_folder)


def test_a_launch_without_respawn_ends_with_its_first_node(deployed, tmp_path):
    launched = launch(deployed, tmp_path, namespace='brittle', loop='true', publish_rate='5.0')
    wait_for_rows(tmp_path / 'result_padim.csv', 2, launched)
    kill_in_session(launched.pid, 'detector')
    output, _ = launched.communicate(timeout=_DEADLINE_S)
    assert launched.returncode == 1
    assert 'has failed (exit code -9)' in output
