# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The only file that knows both messages and adet_core's values."""

from __future__ import annotations

from array import array
import sys
from typing import Any

from adet_interfaces.msg import AnomalyResult, ImageInfo, Region
from builtin_interfaces.msg import Time
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from adet_core.image import Image, unpack_image
from adet_core.inference.detector import Inspection
from adet_core.records import Record, with_verdict

try:
    from cv_bridge import CvBridge

    _bridge: Any = CvBridge()
    # Its compiled half is loaded by the first conversion, and does not fit every numpy.
    _bridge.imgmsg_to_cv2(ImageMessage(encoding='mono8', height=1, width=1, step=1, data=[0]))
except (ImportError, AttributeError):
    _bridge = None

_NS = 1_000_000_000


def to_nanoseconds(stamp: Time) -> int:
    """A stamp as one number, in nanoseconds."""
    return int(stamp.sec) * _NS + int(stamp.nanosec)


def to_stamp(nanoseconds: int) -> Time:
    """The reverse of `to_nanoseconds`."""
    return Time(sec=nanoseconds // _NS, nanosec=nanoseconds % _NS)


def to_image(message: ImageMessage) -> Image:
    """The pixels of a message, without copying them where its layout allows.

    cv_bridge does it where it is installed; otherwise the same is done here.

    Raises:
        ImageError: The encoding is not supported, or the data does not fill the image.
    """
    image = unpack_image(
        memoryview(message.data),
        message.encoding,
        height=message.height,
        width=message.width,
        step=message.step,
        is_bigendian=bool(message.is_bigendian),
    )
    if _bridge is None:
        return image
    pixels = _bridge.imgmsg_to_cv2(message, desired_encoding='passthrough')
    return Image(pixels.reshape(image.pixels.shape), message.encoding)


def to_image_message(pixels: npt.NDArray[Any], encoding: str, header: Header) -> ImageMessage:
    """A message from pixels of ``(H, W)`` or ``(H, W, C)``."""
    pixels = np.ascontiguousarray(pixels)
    message = ImageMessage(header=header, encoding=encoding)
    message.height, message.width = pixels.shape[:2]
    message.step = pixels.strides[0]
    message.is_bigendian = int(sys.byteorder == 'big')
    # An array, filled in one copy: assigning bytes or an ndarray is checked element by element,
    # which takes over a second for an image of two megapixels.
    data = array('B')
    data.frombytes(pixels.data.cast('B'))
    message.data = data
    return message


def to_result(inspection: Inspection, model: str, header: Header) -> AnomalyResult:
    """A verdict as a message."""
    return AnomalyResult(
        header=header,
        model=model,
        bundle_id=inspection.bundle_id,
        score=inspection.score,
        normalised_score=inspection.normalised_score,
        threshold=inspection.threshold,
        is_anomalous=inspection.is_anomalous,
        is_uncertain=inspection.is_uncertain,
        regions=[Region(**region._asdict()) for region in inspection.regions],
        inference_ms=inspection.inference_ms,
    )


def to_record(result: AnomalyResult, info: ImageInfo | None, latency_ms: float | None) -> Record:
    """A row from a verdict and, where known, what image it was."""
    source, label = (info.source, info.label) if info else ('', '')
    row = Record(
        stamp_ns=to_nanoseconds(result.header.stamp),
        frame_id=result.header.frame_id,
        source=source,
        label=label,
        model=result.model,
        bundle_id=result.bundle_id,
        error=result.error,
    )
    return row if result.error else with_verdict(row, result, latency_ms=latency_ms)
