# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Messages and adet_core's values; those of a retraining are in `adet.retrain_conversions`."""

from __future__ import annotations

from array import array
import math
import sys
from typing import Any

from adet_interfaces.msg import AnomalyResult, ImageInfo, Recorded, Region
from builtin_interfaces.msg import Time
import cv2
import numpy as np
import numpy.typing as npt
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from adet_core.bundle import Manifest
from adet_core.image import (
    decode_message,
    ENCODINGS,
    Image,
    ImageArray,
    in_range,
    unpack_image,
)
from adet_core.inference.detector import Inspection
from adet_core.inference.image_queue import Arrived
from adet_core.inference.inspection_service import Outcome
from adet_core.io.folders import readable
from adet_core.io.sources import Frame
from adet_core.records import Record, with_verdict
from adet_core.scoring import AnomalyMap, normalise_score

_NS = 1_000_000_000
_JPEG_QUALITY = 90
# What cv_bridge may be asked for: one array of pixels, without planes.
_BRIDGED = ('mono8', 'bgr8', 'rgb8', 'bgra8', 'rgba8', 'mono16', '32FC1')


def to_nanoseconds(stamp: Time) -> int:
    """A stamp as one number, in nanoseconds."""
    return int(stamp.sec) * _NS + int(stamp.nanosec)


def to_stamp(nanoseconds: int) -> Time:
    """The reverse of `to_nanoseconds`."""
    return Time(sec=nanoseconds // _NS, nanosec=nanoseconds % _NS)


def to_image(message: ImageMessage | CompressedImage) -> Image:
    """The pixels of a message, without copying them where its layout allows.

    Compressed ones are decoded, which takes a while.

    cv_bridge does it for the layouts in which it was found to give the same; it misreads rows with
    padding, and swapped bytes end it with NumPy 2. Otherwise the same is done here.

    Raises:
        ImageError: The encoding is not supported, or the data does not fill the image or cannot be
            decoded.
    """
    if isinstance(message, CompressedImage):
        return decode_message(message.data.tobytes(), message.format, 'compressed image')
    image = _unpacked(message)
    if message.encoding not in _proven or not _is_plain(message, image):
        return image
    return _by_bridge(_bridge, message, image)


def _unpacked(message: ImageMessage) -> Image:
    return unpack_image(
        memoryview(message.data),
        message.encoding,
        height=message.height,
        width=message.width,
        step=message.step,
        is_bigendian=bool(message.is_bigendian),
    )


def _is_plain(message: ImageMessage, image: Image) -> bool:
    """Whether rows have no padding, and bytes the order of this machine."""
    row = image.pixels[0].nbytes
    return message.step == row and bool(message.is_bigendian) == (sys.byteorder == 'big')


def _by_bridge(bridge: Any, message: ImageMessage, image: Image) -> Image:
    pixels = bridge.imgmsg_to_cv2(message, desired_encoding='passthrough')
    return Image(pixels.reshape(image.pixels.shape), message.encoding)


def proven_encodings(bridge: Any) -> frozenset[str]:
    """The encodings of which cv_bridge gives the same pixels as adet, found out by trying.

    Args:
        bridge: A ``cv_bridge.CvBridge``.
    """
    found = set()
    for encoding in _BRIDGED:
        dtype, channels = ENCODINGS[encoding]
        data = np.arange(3 * 4 * channels * np.dtype(dtype).itemsize, dtype=np.uint8)
        pixels = data.view(dtype).reshape((3, 4, channels) if channels > 1 else (3, 4))
        message = to_image_message(pixels, encoding, Header())
        image = _unpacked(message)
        try:
            same = _by_bridge(bridge, message, image).pixels
        except Exception:  # noqa: BLE001, S112 - its compiled half may fail with anything
            continue
        if same.dtype == image.pixels.dtype and same.tobytes() == image.pixels.tobytes():
            found.add(encoding)
    return frozenset(found)


def to_arrived(
    message: ImageMessage | CompressedImage, uint16_range: tuple[float, float]
) -> Arrived:
    """An image that waits for its inspection; its pixels are read when its turn comes.

    Args:
        message: Of any kind that `to_image` reads.
        uint16_range: See `adet_core.image.in_range`.
    """
    header = message.header
    stamp_ns = to_nanoseconds(header.stamp)
    return Arrived(
        stamp_ns,
        header.frame_id,
        lambda: in_range(to_image(message), uint16_range),
        header,
        len(message.data),
    )


def to_image_message(pixels: npt.NDArray[Any], encoding: str, header: Header) -> ImageMessage:
    """A message from pixels as `adet_core.image.Image` describes them."""
    pixels = np.ascontiguousarray(pixels)
    message = ImageMessage(header=header, encoding=encoding)
    # Planar encodings have more rows of bytes than of pixels.
    message.height, message.width = Image(pixels, encoding).size
    message.step = pixels.strides[0]
    message.is_bigendian = int(sys.byteorder == 'big')
    message.data = _bytes_of(pixels)
    return message


def to_map_message(anomaly_map: AnomalyMap, header: Header) -> ImageMessage:
    """A message from an anomaly map; what was not inspected is 0, as viewers scale no infinity."""
    return to_image_message(np.where(np.isneginf(anomaly_map), 0, anomaly_map), '32FC1', header)


def to_compressed_message(
    pixels: ImageArray, header: Header, *, quality: int = _JPEG_QUALITY
) -> CompressedImage:
    """A JPEG for people, as image_transport names and sends it.

    Args:
        pixels: uint8 ``(H, W, 3)``, BGR.
        header: Of the image.
        quality: Of the JPEG, 0 to 100.
    """
    _, data = cv2.imencode('.jpg', pixels, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return CompressedImage(
        header=header, format='bgr8; jpeg compressed bgr8', data=_bytes_of(data)
    )


def _bytes_of(values: npt.NDArray[Any]) -> array[int]:
    """The bytes of a C-contiguous array, for a message.

    An array, filled in one copy: assigning bytes or an ndarray is checked element by element,
    which takes over a second for an image of two megapixels.
    """
    data = array('B')
    data.frombytes(values.data.cast('B'))
    return data


def to_header(stamp_ns: int, frame_id: str) -> Header:
    """A header from a stamp in nanoseconds and the frame of the camera."""
    return Header(stamp=to_stamp(stamp_ns), frame_id=frame_id)


def to_clock(header: Header) -> Clock:
    """The time of a recording, which stands at one of its images."""
    return Clock(clock=header.stamp)


def to_image_info(frame: Frame, header: Header) -> ImageInfo:
    """What is known of an image beside its pixels."""
    return ImageInfo(
        header=header,
        source=readable(frame.source),
        label=frame.label,
        error=readable(frame.error),
    )


def to_unreadable(info: ImageInfo, model: str) -> AnomalyResult:
    """What a model says of an image that nobody could read: nothing but why."""
    return AnomalyResult(header=info.header, model=model, error=info.error)


def to_recorded(result: AnomalyResult) -> Recorded:
    """The acknowledgement of a row."""
    return Recorded(stamp=result.header.stamp, model=result.model)


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
        p_value=inspection.p_value,
        category=inspection.category,
    )


def to_refusal(outcome: Outcome, model: str, header: Header) -> AnomalyResult:
    """The message of an image that could not be inspected."""
    bundle_id = outcome.detector.bundle.bundle_id
    return AnomalyResult(
        header=header,
        model=model,
        bundle_id=bundle_id,
        error=outcome.error,
        p_value=math.nan,
        category=outcome.category,
    )


def to_detections(inspection: Inspection, manifest: Manifest, header: Header) -> Detection2DArray:
    """The regions of a verdict, for those that know vision_msgs.

    Each has the class ``anomaly``, and as score its peak from 0 to 1, with 0.5 at the threshold of
    the map.
    """
    threshold, span = manifest.pixel_threshold.value, manifest.score_range.span
    found = Detection2DArray(header=header)
    for region in inspection.regions:
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id = 'anomaly'
        result.hypothesis.score = normalise_score(region.score, threshold, span)
        detection = Detection2D(header=header, results=[result])
        detection.bbox.center.position.x = region.x + region.width / 2
        detection.bbox.center.position.y = region.y + region.height / 2
        detection.bbox.size_x = float(region.width)
        detection.bbox.size_y = float(region.height)
        found.detections.append(detection)
    return found


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
        category=result.category,
    )
    return row if result.error else with_verdict(row, result, latency_ms=latency_ms)


try:
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

    HAS_VISION_MSGS = True
except ImportError:
    HAS_VISION_MSGS = False
try:
    from cv_bridge import CvBridge

    _bridge: Any = CvBridge()
    _proven = proven_encodings(_bridge)
except (ImportError, AttributeError):
    # Not installed, or compiled for another numpy.
    _bridge, _proven = None, frozenset()
