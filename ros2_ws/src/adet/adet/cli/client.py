# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A node for the length of one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rclpy

from adet import environment
from adet.names import check_namespace
from adet.runner import init


@contextmanager
def client_node(name: str, namespace: str) -> Iterator[Any]:
    """A node that calls others; ROS is initialised for the block alone."""
    # Unless the user's own environment says otherwise, as `adet inspect` has it.
    environment.stay_on_this_machine()
    check_namespace(namespace)
    init([])
    try:
        yield rclpy.create_node(name, namespace=namespace)
    finally:
        rclpy.try_shutdown()
