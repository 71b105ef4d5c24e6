# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Managed nodes: active from the start, or when a lifecycle manager says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNodeMixin, TransitionCallbackReturn

from adet.diagnostics import Diagnostics, Health
from adet.node import RCLError, WorkerNode
from adet_core.errors import describe

_ENTITIES = ('publisher', 'subscription', 'service', 'client', 'timer')
_INACTIVE = 'not active: a lifecycle manager holds the node back'


class ManagedNode(LifecycleNodeMixin, WorkerNode):  # type: ignore[misc]  # rclpy is untyped
    """A node with the states of https://design.ros2.org/articles/node_lifecycle.html.

    A subclass says what the transitions do; what publishers, subscriptions, services and timers it
    makes on the way up is destroyed on the way down.

    Attributes:
        is_configured: `configure` was done, and `clean_up` not since.
        is_active: `activate` was begun, and `deactivate` not since: a signal may end it half-way.
    """

    def __init__(self, name: str, **options: Any) -> None:
        """Create the node, unconfigured; a subclass ends its own constructor with `begin`."""
        WorkerNode.__init__(self, name, **options)
        LifecycleNodeMixin.__init__(self)
        self.is_configured = self.is_active = False
        self._failure: Exception | None = None
        self._is_beginning = False
        self._before_configure = self._before_activate = self._entities()
        # A transition that the present state does not have would end the process.
        change = self._service_change_state.callback
        self._service_change_state.callback = lambda request, response: _answered(
            change, request, response
        )

    def begin(self, *, autostart: bool) -> None:
        """Configure and activate at once, unless a lifecycle manager does it later.

        Raises:
            Exception: What either of them fails with.
        """
        if not autostart:
            return
        self._is_beginning = True
        for trigger in (self.trigger_configure, self.trigger_activate):
            trigger()
            if self._failure is not None:
                raise self._failure
        self._is_beginning = False

    def configure(self) -> None:
        """Load and open what is needed; an error leaves the node unconfigured."""

    def activate(self) -> None:
        """Begin, or go on; an error leaves the node inactive."""

    def deactivate(self) -> None:
        """Pause."""

    def clean_up(self) -> None:
        """Free what `configure` took."""

    def stop(self) -> None:
        """See `AdetNode.stop`."""
        if self.is_active:
            self.is_active = False
            self.deactivate()
        if self.is_configured:
            self.is_configured = False
            self.clean_up()
        super().stop()

    def diagnose(self, task: str, health: Callable[[], Health], hardware_id: str) -> Diagnostics:
        """Publish a health, which says as well that the node is not active."""

        def with_state() -> Health:
            found = health()
            return found if self.is_active else Health(_INACTIVE, found.values)

        return Diagnostics(self, task, with_state, hardware_id)

    def on_configure(self, _: Any) -> TransitionCallbackReturn:
        """See `configure`."""
        self._before_configure = self._entities()
        done = self._try(self.configure, self._before_configure)
        self.is_configured = done == TransitionCallbackReturn.SUCCESS
        return done

    def on_activate(self, _: Any) -> TransitionCallbackReturn:
        """See `activate`."""
        self._before_activate = self._entities()
        self.is_active = True
        done = self._try(self.activate, self._before_activate)
        self.is_active = done == TransitionCallbackReturn.SUCCESS
        return done

    def on_deactivate(self, _: Any) -> TransitionCallbackReturn:
        """See `deactivate`."""
        self.is_active = False
        self.deactivate()
        self._destroy_since(self._before_activate)
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, _: Any) -> TransitionCallbackReturn:
        """See `clean_up`."""
        self.is_configured = False
        self.clean_up()
        self._destroy_since(self._before_configure)
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: Any) -> TransitionCallbackReturn:
        """Free everything, whatever the state."""
        if self.is_active:
            self.on_deactivate(state)
        if self.is_configured:
            self.on_cleanup(state)
        return TransitionCallbackReturn.SUCCESS

    def _try(self, step: Callable[[], None], before: set[Any]) -> TransitionCallbackReturn:
        self._failure = None
        try:
            step()
        # rclpy would keep to itself what it was.
        except Exception as error:  # noqa: BLE001
            self._failure = error
            self._destroy_since(before)
            if not self._is_beginning:
                self.get_logger().error(describe(error))
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def _entities(self) -> set[Any]:
        return {entity for kind in _ENTITIES for entity in getattr(self, f'{kind}s')}

    def _destroy_since(self, before: set[Any]) -> None:
        for kind in _ENTITIES:
            for entity in set(getattr(self, f'{kind}s')) - before:
                getattr(self, f'destroy_{kind}')(entity)


def _answered(change: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
    try:
        return change(request, response)
    except RCLError:
        response.success = False
        return response
