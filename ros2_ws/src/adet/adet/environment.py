# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a process sets before ROS 2 starts in it, each with its reason.

Everything here gives way to what the user's own environment says.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
import signal
import sys

from ament_index_python.packages import get_package_share_directory

# Until Jazzy, and after it.
_PROFILES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
_TRANSPORTS = 'FASTDDS_BUILTIN_TRANSPORTS'
_RANGE = 'ROS_AUTOMATIC_DISCOVERY_RANGE'
# Set by launch files of adet to the number of the process of launch.
END_WITH_PARENT = 'ADET_END_WITH_PARENT'
_PR_SET_PDEATHSIG = 1
_GENERATOR = 'rosidl_generator_py.generate_py_impl'
# From what size on glibc gets a block from the kernel alone, and gives it back when it is freed;
# and how much of its other memory may lie free. Each: mallopt's number, the variable that people
# set it by, and what it is here: 32 MiB is the most that glibc accepts of the first.
_ALLOCATION = (
    (-3, 'MALLOC_MMAP_THRESHOLD_', 32 << 20),
    (-1, 'MALLOC_TRIM_THRESHOLD_', 128 << 20),
)


def prepare() -> None:
    """Prepare this process for nodes that handle images."""
    _keep_memory()
    _skip_generator()
    _share_memory()


def give_back_memory() -> None:
    """Give memory that lies free back, as what loads a bundle needs several times its size.

    What is kept for images would keep that as well. It takes a few milliseconds.
    """
    # Not every C library has it.
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)


def stay_on_this_machine() -> None:
    """Let the nodes of this process talk to those of this machine only."""
    os.environ.setdefault(_RANGE, 'LOCALHOST')


def end_with_parent() -> None:
    """Get SIGINT when the process ends that started this one, if that asked for it.

    ``ros2 launch`` does not pass SIGTERM on, and a killed one passes nothing on: its nodes would
    go on without it. Only launch files of adet ask: what a shell started may outlive the shell.
    """
    # Not every system has it.
    prctl = getattr(ctypes.CDLL(None), 'prctl', None)
    if os.environ.get(END_WITH_PARENT) != str(os.getppid()):
        return
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def fast_dds_profile() -> Path:
    """The file that gives Fast DDS shared memory for whole images."""
    return Path(get_package_share_directory('adet'), 'config', 'fastdds.xml')


def profile_variable() -> str:
    """The environment variable by which Fast DDS of this ROS 2 finds such a file."""
    return _PROFILES[os.environ.get('ROS_DISTRO', 'jazzy') > 'jazzy']


def _share_memory() -> None:
    """Give Fast DDS shared memory that holds whole images: its own holds 0.5 MB."""
    if not any(name in os.environ for name in (*_PROFILES, _TRANSPORTS)):
        os.environ.update(dict.fromkeys(_PROFILES, str(fast_dds_profile())))


def _skip_generator() -> None:
    """Keep the generator of messages from being imported with the first message.

    Every message package imports it for a function that no node calls, and it brings two parsers
    along: a quarter of a second for each process.
    """
    # None is how Python is told that a module is not there, for which its package is prepared.
    sys.modules.setdefault(_GENERATOR, None)  # type: ignore[arg-type]


def _keep_memory() -> None:
    """Keep the memory of an image for the next one.

    An image is copied three times on its way into Python, and glibc would get each copy from the
    kernel anew, page by page.
    """
    # Not every C library has it.
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    for option, name, value in _ALLOCATION:
        if mallopt is not None and name not in os.environ:
            mallopt(option, value)
