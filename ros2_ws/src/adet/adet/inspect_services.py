# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Services for robots that ask for a verdict: on an image of theirs, or on the newest one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adet_interfaces.srv import Inspect, InspectNow
from rclpy.callback_groups import ReentrantCallbackGroup
from sensor_msgs.msg import Image as ImageMessage

from adet.conversions import to_nanoseconds, to_result
from adet.node import AdetNode
from adet_core.errors import AdetError, ConfigError
from adet_core.inference.image_queue import Arrived, STOPPED
from adet_core.inference.inspection_service import Outcome
from adet_core.inference.on_demand import OnDemand

_WAIT_S = 5.0


class InspectServices:
    """``<model>/inspect`` and ``<model>/inspect_now`` of a detector.

    Attributes:
        on_demand: Who is asked; None as long as there is nobody.
    """

    def __init__(
        self,
        node: AdetNode,
        model: str,
        to_arrived: Callable[[ImageMessage], Arrived],
        publish: Callable[[Outcome], None],
        *,
        frames: str,
    ) -> None:
        """Offer the services.

        Args:
            node: Whose services they are.
            model: Its model name.
            to_arrived: Reads the image of a request.
            publish: Publishes an outcome as those of the stream are.
            frames: The option of that name. Of a folder, whose images are counted, nothing else
                is published; on demand, what `inspect_now` finds is the stream.
        """
        self.on_demand: OnDemand | None = None
        self._node, self._model, self._frames = node, model, frames
        self._to_arrived, self._publish = to_arrived, publish
        # Calls wait for each other in threads of theirs, and hold no image up.
        group = ReentrantCallbackGroup()
        node.create_service(Inspect, f'{model}/inspect', self._on_inspect, callback_group=group)
        node.create_service(
            InspectNow, f'{model}/inspect_now', self._on_inspect_now, callback_group=group
        )

    async def _on_inspect(
        self, request: Inspect.Request, response: Inspect.Response
    ) -> Inspect.Response:
        def inspect(on_demand: OnDemand) -> Outcome:
            if request.publish and self._frames == 'every':
                msg = 'publish: the rows of a folder are those of its images alone; leave it out'
                raise ConfigError(msg)
            return on_demand.inspect(self._to_arrived(request.image))

        return await self._answer(response, inspect, publish=request.publish)

    async def _on_inspect_now(
        self, request: InspectNow.Request, response: InspectNow.Response
    ) -> InspectNow.Response:
        not_before, timeout_s = to_nanoseconds(request.not_before), request.timeout or _WAIT_S
        return await self._answer(
            response,
            lambda on_demand: on_demand.inspect_newest(not_before, timeout_s),
            # Whatever arrives is published by itself otherwise.
            publish=self._frames == 'on_demand',
        )

    async def _answer(
        self, response: Any, inspect: Callable[[OnDemand], Outcome], *, publish: bool
    ) -> Any:
        on_demand = self.on_demand
        try:
            if on_demand is None:
                raise ConfigError(STOPPED)
            outcome = await self._node.in_thread(lambda: inspect(on_demand), 'inspect')
        except AdetError as error:
            response.message = str(error)
            return response
        inspection = outcome.inspection
        assert inspection is not None
        response.success = True
        response.result = to_result(inspection, self._model, outcome.arrived.origin)
        word = 'anomalous' if inspection.is_anomalous else 'normal'
        response.message = (
            f'{word}: score {inspection.score:g}, threshold {inspection.threshold:g}'
        )
        if publish and self.on_demand is on_demand:
            self._publish(outcome)
        return response
