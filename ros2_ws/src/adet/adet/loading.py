# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Asking a running detector to take a bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import time
from typing import Any

from adet_interfaces.srv import LoadBundle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from std_msgs.msg import String

from adet import qos
from adet_core.bundle import open_bundle
from adet_core.errors import BundleError

_LOOK_S = 0.02
_DETECTOR_S = 1.0
_SWAP_S = 120.0


def load_into_detector(
    node: Node,
    model: str,
    folder: Path,
    *,
    group: ReentrantCallbackGroup,
    is_stopping: Callable[[], bool],
) -> tuple[str, str]:
    """Let the running detector of a model, if there is one, take a bundle; waits for it.

    To be called from a thread beside the executor that spins the node.

    Args:
        node: Whose namespace the detector is in.
        model: The model name.
        folder: Of the bundle.
        group: For the client.
        is_stopping: Whether to give up.

    Returns:
        What the detector does, and why it refuses.

    Raises:
        BundleError: It does not respond.
    """
    client = node.create_client(LoadBundle, f'{model}/load_bundle', callback_group=group)
    try:
        if not client.wait_for_service(_DETECTOR_S):
            return f'no {model} detector runs; it is in service from its next start on', ''
        request = LoadBundle.Request(folder=str(folder.resolve()))
        response = _called(client, request, model, is_stopping)
    finally:
        node.destroy_client(client)
    if response is None:
        return f'the {model} detector went away; it is in service from its next start on', ''
    if not response.success:
        return '', response.message
    if open_bundle(folder, in_service=True).bundle_id != response.bundle_id:
        # Of another category than the one in service.
        return f'the {model} detector has it: {response.message}', ''
    return f'the {model} detector inspects with {response.bundle_id}', ''


def category_in_service(
    node: Node, model: str, *, group: ReentrantCallbackGroup, is_stopping: Callable[[], bool]
) -> str:
    """What the running detector of a model inspects; empty if there is none.

    Args:
        node: Whose namespace the detector is in.
        model: The model name.
        group: For the subscription.
        is_stopping: Whether to give up.
    """
    told: list[str] = []
    subscription = node.create_subscription(
        String,
        f'{model}/category',
        lambda message: told.append(message.data),
        qos.latched(),
        callback_group=group,
        # rclpy ends the executor with an error where a handler of events, as a subscription has by
        # default, is destroyed in another thread just before the executor waits for it.
        event_callbacks=qos.SubscriptionEventCallbacks(use_default_callbacks=False),
    )
    try:
        deadline = time.monotonic() + _DETECTOR_S
        while not told and not is_stopping() and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
    finally:
        node.destroy_subscription(subscription)
    return told[-1] if told else ''


def _called(client: Any, request: Any, model: str, is_stopping: Callable[[], bool]) -> Any:
    """The detector's response; None if it went away."""
    future = client.call_async(request)
    deadline = time.monotonic() + _SWAP_S
    while not future.done():
        if not client.service_is_ready():
            return None
        if is_stopping() or time.monotonic() > deadline:
            msg = f'the {model} detector did not answer; call {model}/load_bundle'
            raise BundleError(msg)
        time.sleep(_LOOK_S)
    return future.result()
