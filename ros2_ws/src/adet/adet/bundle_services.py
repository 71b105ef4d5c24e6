# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Services of a detector: another bundle is put in service, and an image is marked."""

from __future__ import annotations

from collections.abc import Callable

from adet_interfaces.srv import LoadBundle, MarkResult
from rclpy.callback_groups import ReentrantCallbackGroup

from adet.conversions import to_nanoseconds
from adet.node import AdetNode
from adet_core.errors import AdetError, ConfigError
from adet_core.inference.detector import Detector
from adet_core.inference.inspection_service import InspectionService
from adet_core.paths import user_path

_UNCONFIGURED = 'the detector is not configured: no bundle is loaded'


class BundleServices:
    """``<model>/load_bundle`` and ``<model>/mark`` of a detector.

    Attributes:
        inspection: Who has the bundle; None as long as there is nobody.
    """

    def __init__(self, node: AdetNode, model: str, tell: Callable[[], None]) -> None:
        """Offer the services.

        Args:
            node: Whose services they are.
            model: Its model name.
            tell: Called when another bundle was put into service.
        """
        self.inspection: InspectionService | None = None
        self._node, self._tell = node, tell
        # In a group of its own: while a bundle is being loaded, images and timers go on.
        node.create_service(
            LoadBundle,
            f'{model}/load_bundle',
            self._on_load_bundle,
            callback_group=ReentrantCallbackGroup(),
        )
        node.create_service(MarkResult, f'{model}/mark', self._on_mark)

    def say_backend(self, what: str, detector: Detector) -> None:
        """Tell the log what a detector runs on, and why."""
        reason = f' ({detector.backend_reason})' if detector.backend_reason else ''
        self._node.get_logger().info(f'{what} on {detector.backend.name}{reason}')

    async def _on_load_bundle(
        self, request: LoadBundle.Request, response: LoadBundle.Response
    ) -> LoadBundle.Response:
        inspection = self.inspection
        if inspection is None:
            response.message = _UNCONFIGURED
            return response

        def swap() -> tuple[Detector, Detector]:
            folder = user_path(request.folder, 'folder') if request.folder else None
            return inspection.products.swap(folder)

        try:
            old, new = await self._node.in_thread(swap, 'load_bundle')
        except (AdetError, OSError) as error:
            response.message = str(error)
        else:
            self._tell()
            ids = f'{old.bundle.bundle_id} -> {new.bundle.bundle_id}'
            self.say_backend(f'bundle swapped: {ids}', new)
            category, current = new.bundle.manifest.category, inspection.category
            is_current = category == current
            state = 'is in service' if is_current else f'waits for {category}, {current} stays'
            response.success, response.message = True, f'{new.bundle.folder} {state}'
        response.bundle_id = inspection.detector.bundle.bundle_id
        return response

    def _on_mark(
        self, request: MarkResult.Request, response: MarkResult.Response
    ) -> MarkResult.Response:
        """Store an image that an operator knows more of than the detector."""
        stamp = to_nanoseconds(request.stamp)
        try:
            if self.inspection is None:
                raise ConfigError(_UNCONFIGURED)
            path = self.inspection.recent.mark(stamp, request.verdict, request.note)
        except (AdetError, OSError) as error:
            response.message = str(error)
        else:
            response.success, response.path = True, str(path)
            response.message = f'{path} is used by the next retraining'
            self._node.get_logger().info(f'marked as {request.verdict}: {path}')
        return response
