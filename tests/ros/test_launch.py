# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The launch files, with the real ``ros2 launch``: alone, included, and with mistakes."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import shutil
import signal
import subprocess
import textwrap
import time

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from adet_core.records import read_records

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(shutil.which('ros2') is None, reason='`ros2 launch` is not installed here'),
]
_DEADLINE_S = 120.0


class Launched:
    """``ros2 launch`` in a session of its own."""

    def __init__(self, root: Path, *words: object, **arguments: object) -> None:
        self._log = (root / 'launch.log').open('w+')
        given = [f'{name}:={value}' for name, value in arguments.items()]
        self.process = subprocess.Popen(
            ['ros2', 'launch', *map(str, words), *given],
            env={**os.environ, 'ROS_LOG_DIR': str(root / 'log')},
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def output(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def wait(self) -> int:
        return self.process.wait(_DEADLINE_S)

    def nodes(self) -> dict[str, int]:
        """The processes that run nodes, by executable."""
        words = ['ps', '-ww', '-o', 'pid=,args=', '--sid', str(self.process.pid)]
        lines = subprocess.run(words, capture_output=True, text=True, check=False).stdout
        found = [line.split() for line in lines.splitlines() if '/lib/adet/' in line]
        return {Path(line[2]).name: int(line[0]) for line in found}

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()


@pytest.fixture
def start(deployed, tmp_path) -> Iterator[object]:
    """Start a launch file, by default adet's own."""
    made = []

    def begin(*words: object, **arguments: object) -> Launched:
        given = {
            'source': deployed.test_folder,
            'models_root': deployed.models_root,
            'output_dir': tmp_path,
            'namespace': f'launch{os.getpid()}',
            **arguments,
        }
        made.append(Launched(tmp_path, *(words or ('adet', 'inspect.launch.py')), **given))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def until(holds, what: str):
    deadline = time.monotonic() + _DEADLINE_S
    while not (value := holds()):
        assert time.monotonic() < deadline, f'waited in vain: {what}'
        time.sleep(0.05)
    return value


def rows(folder: Path) -> int:
    path = folder / 'result_padim.csv'
    return path.read_bytes().count(b'\n') - 1 if path.exists() else 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'data_rot': 'x'}, "unknown launch argument 'data_rot'; did you mean data_root?"),
        ({'threads': 'two'}, "threads is 'two', expected int"),
        ({'threads': '99999999999'}, 'threads is 99999999999, expected 0 to 1024'),
        ({'namespace': 'a b'}, "namespace is 'a b', expected letters, digits and _"),
        ({'source': 'topic:/1cam'}, "topic is '/1cam', expected letters, digits and _"),
        ({'source': 'topic:/cam era'}, "topic is '/cam era', expected letters, digits and _"),
        ({'model': 'vae', 'respawn': 'true'}, 'VAE/meta.json: missing'),
        ({'compose': 'true', 'respawn': 'true'}, 'respawn:=true needs a process for each node'),
        ({'params_file': '/none.yaml'}, "params_file is '/none.yaml': no such file"),
        ({'source': '/nowhere'}, '/nowhere: no such folder, file or camera'),
    ],
)
def test_a_mistake_ends_the_launch_at_once_with_one_line(start, arguments, message):
    launched = start(**arguments)
    assert launched.wait() == 1
    (line,) = [line for line in launched.output.splitlines() if '[ERROR]' in line]
    assert message in line
    assert 'process started' not in launched.output


def test_a_node_that_fails_is_the_failure_of_the_launch(start, tmp_path):
    file = tmp_path / 'mine.yaml'
    file.write_text('/**/padim_detector:\n  ros__parameters:\n    expected_defects: 5.0\n')
    launched = start(params_file=file)
    assert launched.wait() == 1
    assert 'error: padim_detector: parameter expected_defects' in launched.output
    assert 'has failed (exit code 1)' in launched.output
    until(lambda: not launched.nodes(), 'the end of all nodes')


def test_parameters_of_a_file_go_before_the_arguments(start, tmp_path):
    file = tmp_path / 'mine.yaml'
    file.write_text('/**/padim_detector:\n  ros__parameters:\n    threshold: 0.0\n')
    launched = start(params_file=file)
    assert launched.wait() == 0, launched.output
    assert {row.threshold for row in read_records(tmp_path / 'result_padim.csv')} == {0.0}


def test_composed_all_nodes_are_in_one_process(start, tmp_path):
    launched = start(compose='true', publish_rate=2.0)
    until(lambda: rows(tmp_path) > 1, 'rows')
    assert list(launched.nodes()) == ['inspection']
    assert launched.wait() == 0, launched.output
    assert rows(tmp_path) == 16


ROBOT = """
    import sys
    from ament_index_python.packages import get_package_share_directory
    from launch import LaunchDescription
    from launch.actions import ExecuteProcess, IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    def generate_launch_description():
        share = get_package_share_directory('adet')
        inspection = IncludeLaunchDescription(
            PythonLaunchDescriptionSource(f'{share}/launch/inspect.launch.py'),
            launch_arguments=[word.split(':=', 1) for word in sys.argv if ':=' in word],
        )
        program = 'import time; print("robot", flush=True); time.sleep(600)'
        robot = ExecuteProcess(cmd=[sys.executable, '-c', program], output='screen')
        return LaunchDescription([robot, inspection])
"""


@pytest.mark.parametrize('end', ['finished', 'failed'])
def test_included_it_ends_its_own_nodes_and_not_the_robot(start, tmp_path, end):
    file = tmp_path / 'robot.launch.py'
    file.write_text(textwrap.dedent(ROBOT))
    launched = start(file, publish_rate=0.0 if end == 'finished' else 2.0)
    if end == 'failed':
        until(lambda: rows(tmp_path) > 1, 'rows')
        os.kill(launched.nodes()['detector'], signal.SIGKILL)
    until(
        lambda: launched.output.count('process has ') == 3 and not launched.nodes(),
        'the end of the nodes of adet',
    )
    assert launched.process.poll() is None
    assert 'robot' in launched.output
    assert 'shutting down' not in launched.output
    launched.process.send_signal(signal.SIGINT)
    launched.wait()


def test_included_it_ends_the_robot_where_that_is_asked_for(start, tmp_path):
    file = tmp_path / 'robot.launch.py'
    file.write_text(textwrap.dedent(ROBOT))
    launched = start(file, on_end='shutdown')
    assert launched.wait() == 0, launched.output


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_no_node_goes_on_without_its_launch(start, tmp_path, number):
    launched = start(publish_rate=2.0)
    until(lambda: rows(tmp_path) > 1, 'rows')
    launched.process.send_signal(number)
    launched.wait()
    until(lambda: not launched.nodes(), 'the end of all nodes')
