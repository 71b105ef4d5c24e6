# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""How a node's process ends."""

from __future__ import annotations

import os
from pathlib import Path
import platform
import re
import resource
import signal
import subprocess
import sys
import textwrap

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_node_in_the_midst_of_its_work_ends_in_order(number):
    """With rclpy's own handlers its next message is an error."""
    script = textwrap.dedent("""
        import sys
        from adet.node import AdetNode
        from adet.runner import main
        from std_msgs.msg import Header

        class Busy(AdetNode):
            def __init__(self):
                super().__init__('busy')
                self.publisher = self.create_publisher(Header, 'busy', 10)
                self.timer = self.create_timer(0.0001, self.work)

            def work(self):
                for _ in range(50):
                    self.publisher.publish(Header())
                print('busy', flush=True)

            def stop(self):
                self.publisher.publish(Header())
                print('stopped', flush=True)

        sys.exit(main(Busy))
    """)
    with subprocess.Popen(
        [sys.executable, '-c', script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == 'busy\n'
        process.send_signal(number)
        said, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, '')
    assert said.endswith('stopped\n')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_is_told_to_stop_while_it_starts_ends_in_order(number):
    script = textwrap.dedent("""
        import sys, time
        from adet.node import AdetNode
        from adet.runner import main

        class Slow(AdetNode):
            def __init__(self):
                super().__init__('slow')
                print('loading', flush=True)
                time.sleep(60)

        sys.exit(main(Slow))
    """)
    with subprocess.Popen(
        [sys.executable, '-c', script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == 'loading\n'
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, '')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_just_after_the_thread_of_a_node_began_ends_it(number):
    """Nobody holds the node then, and its thread would keep the process for ever."""
    script = textwrap.dedent(f"""
        import os, sys
        from adet.node import WorkerNode
        from adet.runner import main

        class Started(WorkerNode):
            def __init__(self):
                super().__init__('started')
                self.start(self.work)
                os.kill(os.getpid(), {int(number)})

            def work(self):
                with self.changed:
                    self.changed.wait_for(lambda: self.stopping)
                print('stopped', flush=True)

        sys.exit(main(Started))
    """)
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, 'stopped\n', '')


def test_what_a_node_handles_leaves_nothing_behind():
    """A node that inspects for months handles hundreds of millions of messages."""
    script = textwrap.dedent("""
        import gc
        import rclpy
        from adet.node import AdetNode
        from adet.runner import init, run

        held, looks = [], []

        class Busy(AdetNode):
            def __init__(self):
                super().__init__('busy')
                self.handled = 0
                self.timer = self.create_timer(0.0001, self.work)

            def work(self):
                self.handled += 1
                if self.handled % 200 == 0:
                    gc.collect()
                    held.append(len(gc.get_objects()))
                if self.handled == 600:
                    self.finish()

        init([])
        node = Busy()
        finished = run([node], on_look=lambda: looks.append(node.handled))
        rclpy.try_shutdown()
        print(finished, held[-1] - held[0], looks[-1])
    """)
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, timeout=60, check=True
    )
    finished, growth, last_look = done.stdout.split()
    assert finished == 'True'
    assert int(growth) < 100
    assert last_look == '600'


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='another C library')
def test_the_memory_of_a_image_is_kept_for_the_next():
    """Or glibc gives it back, and gets it from the kernel anew, page by page."""
    script = textwrap.dedent("""
        import resource
        from adet.runner import init
        import numpy as np

        init([])
        pixels = np.ones(3 << 20, np.uint8)
        faults = []
        for _ in range(50):
            # As many as there are of an image that arrives: in C, as bytes, and as an array.
            copies = [pixels.copy() for _ in range(3)]
            del copies
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        print(faults[-1] - faults[9])
    """)
    own = {name: value for name, value in os.environ.items() if not name.startswith('MALLOC_')}
    # What glibc begins with. The environment's word goes before `init`'s, and the count can tell.
    as_ever = dict.fromkeys(('MALLOC_MMAP_THRESHOLD_', 'MALLOC_TRIM_THRESHOLD_'), '131072')
    kept, anew = (
        int(subprocess.check_output([sys.executable, '-c', script], env=own | more, timeout=60))
        for more in ({}, as_ever)
    )
    pages = 40 * 3 * (3 << 20) // resource.getpagesize()
    assert kept < pages / 10
    assert anew > pages


def test_a_node_imports_nothing_that_it_does_not_need():
    """Half a second for each process."""
    script = textwrap.dedent("""
        import sys
        import adet.nodes.csv_recorder, adet.nodes.detector, adet.nodes.image_source
        from adet.node import AdetNode
        from adet.runner import init

        init([])
        AdetNode('any')
        print(*sorted({'em', 'lark', 'onnx', 'rich', 'rclpy', 'torch'} & set(sys.modules)))
    """)
    words = [sys.executable, '-c', script]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == 'rclpy\n'


def _say(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    script = textwrap.dedent("""
        import os
        from adet.runner import init
        import rclpy

        init([])
        rclpy.create_node('any')
        for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
            print(os.environ.get(name))
    """)
    words = [sys.executable, '-c', script]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True)


def test_a_node_brings_shared_memory_that_holds_whole_images():
    own = {name: value for name, value in os.environ.items() if not name.startswith('FAST')}
    # Fast DDS would say here what it does not understand in the file.
    first, second = _say(own).stdout.split()
    assert first == second
    (size,) = re.findall('<segment_size>(.*)</segment_size>', Path(first).read_text('utf-8'))
    assert int(size) > 4 * 1920 * 1080


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('FASTRTPS_DEFAULT_PROFILES_FILE', '/own.xml'),
        ('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4'),
    ],
)
def test_what_the_user_says_of_transports_stays(name: str, value: str):
    own = {key: one for key, one in os.environ.items() if not key.startswith('FAST')}
    # After what Fast DDS says of a file that is not there.
    said = _say({**own, name: value}).stdout.split()[-2:]
    assert said == [value if name.startswith('FASTRTPS') else 'None', 'None']


@pytest.mark.parametrize(
    ('words', 'domain', 'message'),
    [
        (['health', '--namespace', 'a b'], '', "namespace is 'a b', expected letters, digits"),
        (
            ['mark', 'bad', '--model', 'padim', '--namespace', 'line-1'],
            '',
            "is 'line-1', expected",
        ),
        (['retrain-goal', '--model', 'padim', '--namespace', '1'], '', "namespace is '1'"),
        (['health'], 'abc', 'ROS 2 cannot start: failed to initialize rcl: ROS_DOMAIN_ID is not'),
    ],
)
def test_what_ros_does_not_take_is_one_clear_line(words, domain, message):
    env = {**os.environ, **({'ROS_DOMAIN_ID': domain} if domain else {})}
    done = subprocess.run(
        ['adet', *words], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith('error: ')
    assert message in line


@pytest.mark.parametrize(
    ('module', 'domain', 'words', 'message'),
    [
        (
            'adet.nodes.csv_recorder',
            'abc',
            [],
            'ROS 2 cannot start: failed to initialize rcl: ROS_DOMAIN_ID is not',
        ),
        (
            'adet_console.node',
            'abc',
            [],
            'ROS 2 cannot start: failed to initialize rcl: ROS_DOMAIN_ID is not',
        ),
        (
            'adet_console.node',
            '',
            ['--ros-args', '-p', 'output_dir:=~nosuch/x'],
            "output_dir is '~nosuch/x': that home folder is not known here",
        ),
    ],
)
def test_a_process_that_cannot_start_says_so_in_one_line(module, domain, words, message):
    env = {**os.environ, **({'ROS_DOMAIN_ID': domain} if domain else {})}
    script = f'import sys; from {module} import main; sys.exit(main())'
    done = subprocess.run(
        [sys.executable, '-c', script, *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f'error: {message}' in line
