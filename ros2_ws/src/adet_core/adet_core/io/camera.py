# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Live images through OpenCV: cameras of this machine, network streams, GStreamer pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import re
import threading
from urllib.parse import urlsplit

import cv2
import numpy as np

from adet_core.errors import ConfigError, DatasetError
from adet_core.image import Image, ImageArray
from adet_core.io.sources import Frame, PlainSource

_CAMERA = re.compile(r'camera:(\d{1,6}|/dev/.+)')
_STREAM = re.compile(r'(?:rtsps?|https?|rtmp|udp)://.+')
_PIPELINE = re.compile(r'gstreamer:(.+)', re.DOTALL)
# A stream that gives nothing for so long is lost.
_TIMEOUT_MS = 10_000
# One image, the newest, in the order that OpenCV reads.
_SINK = 'videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1'
# V4L2 counts an exposure in 100 microseconds; these are its names for who sets it.
_PER_MS, _BY_HAND = 10, 1
_RATE_TOLERANCE = 0.05


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """What a camera of V4L2 is asked for; what is empty or 0 stays as its driver has it.

    Attributes:
        format: Four letters, e.g. MJPG or YUYV: many cameras reach their size and rate with MJPG
            alone.
        width: In pixels.
        height: In pixels.
        rate: In images per second.
        exposure: In milliseconds; turns the automatic one off.
    """

    format: str = ''
    width: int = 0
    height: int = 0
    rate: float = 0.0
    exposure: float = 0.0


def is_camera(spec: str) -> bool:
    """Whether what a user named is live.

    That is ``camera:N``, ``camera:/dev/...``, an address, or ``gstreamer:PIPELINE``.
    """
    return any(pattern.fullmatch(spec) for pattern in (_CAMERA, _STREAM, _PIPELINE))


def without_password(spec: str) -> str:
    """The name of a source for people: an address without the user and password in it."""
    if not _STREAM.fullmatch(spec) or '@' not in (place := urlsplit(spec).netloc):
        return spec
    return spec.replace(place, place.rpartition('@')[2], 1)


class CameraSource(PlainSource):
    """The newest image whenever one is wanted; it never ends by itself.

    A thread takes every image, so that none is old; only those that are wanted are decoded.
    """

    is_live = True
    total: int | None = None

    def __init__(self, spec: str, settings: CameraSettings | None = None) -> None:
        """Open the camera.

        Args:
            spec: As `is_camera` has it.
            settings: For ``camera:N``.

        Raises:
            ConfigError: A setting is for another kind of source, or is not what the camera does.
            DatasetError: There is no such camera or stream, or it is in use.
        """
        self._name = without_password(spec)
        settings = settings or CameraSettings()
        camera = _CAMERA.fullmatch(spec)
        if camera is None and settings != CameraSettings():
            msg = f'{self._name}: camera_* parameters are for camera:N; set them at the source'
            raise ConfigError(msg)
        if camera:
            self._end, advice = 'was it unplugged', 'see which exist with: ls /dev/video*'
            self._capture = _open_camera(self._name, camera[1], settings)
        else:
            self._end, advice = 'did the stream end', 'try its address with another player'
            self._capture = _open_stream(spec)
        if not self._capture.isOpened():
            msg = f'{self._name}: cannot be opened; {advice}'
            raise DatasetError(msg)
        self._changed = threading.Condition()
        self._is_wanted = self._is_over = False
        self._newest: ImageArray | None = None

    def __iter__(self) -> Iterator[Frame]:
        """Take images for ever.

        Raises:
            DatasetError: The camera stopped giving images.
        """
        thread = threading.Thread(target=self._read, name=self._name, daemon=True)
        self._newest, self._is_wanted, self._is_over = None, True, False
        thread.start()
        try:
            while (pixels := self._next()) is not None:
                yield Frame(Image(pixels, 'bgr8'), self._name)
        finally:
            with self._changed:
                self._is_over = True
            thread.join()
            # It can be opened once: now somebody else may.
            self._capture.release()
        msg = f'{self._name}: no more frames; {self._end}?'
        raise DatasetError(msg)

    def _next(self) -> ImageArray | None:
        """The next image that the camera gives; None if there is none."""
        with self._changed:
            self._is_wanted = self._newest is None
            self._changed.wait_for(lambda: self._newest is not None or self._is_over)
            pixels, self._newest = self._newest, None
            return pixels

    def _read(self) -> None:
        try:
            while not self._is_over and self._capture.grab():
                if self._is_wanted and not self._hand_over():
                    break
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _hand_over(self) -> bool:
        """Decode the image that was grabbed; False if that cannot be done."""
        taken, pixels = self._capture.retrieve()
        if taken:
            with self._changed:
                self._newest, self._is_wanted = np.asarray(pixels, np.uint8), False
                self._changed.notify_all()
        return bool(taken)


def _open_camera(name: str, place: str, settings: CameraSettings) -> cv2.VideoCapture:
    camera: int | str = int(place) if place.isdecimal() else place
    # Settings, and names of devices, are those of V4L2.
    is_plain = isinstance(camera, int) and settings == CameraSettings()
    capture = cv2.VideoCapture(camera, cv2.CAP_ANY if is_plain else cv2.CAP_V4L2)
    # Old frames are of no use to anybody: keep as few as the driver allows.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if capture.isOpened():
        _set_up(name, capture, settings)
    return capture


def _set_up(name: str, capture: cv2.VideoCapture, settings: CameraSettings) -> None:
    """Ask a camera for settings, in the order in which they depend on each other.

    Raises:
        ConfigError: It has others.
    """
    if settings.format:
        if len(settings.format) != 4 or not settings.format.isascii():
            msg = f'camera_format is {settings.format!r}, expected four letters, e.g. MJPG'
            raise ConfigError(msg)
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*settings.format))
    if settings.width:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
    if settings.height:
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
    if settings.rate:
        capture.set(cv2.CAP_PROP_FPS, settings.rate)
    if settings.exposure:
        capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _BY_HAND)
        if not capture.set(cv2.CAP_PROP_EXPOSURE, settings.exposure * _PER_MS):
            msg = f'{name}: takes no camera_exposure of {settings.exposure} ms; {_ADVICE}'
            raise ConfigError(msg)
    _check(name, settings, _settings_of(capture))


_ADVICE = 'see what it can do with: v4l2-ctl --list-formats-ext --list-ctrls'


def _settings_of(capture: cv2.VideoCapture) -> CameraSettings:
    letters = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, 'little', signed=True)
    return CameraSettings(
        format=letters.decode('ascii', 'replace'),
        width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        rate=capture.get(cv2.CAP_PROP_FPS),
    )


def _check(name: str, asked: CameraSettings, found: CameraSettings) -> None:
    """A driver takes the nearest that it can do, and says nothing."""
    for setting in ('format', 'width', 'height', 'rate'):
        want, has = getattr(asked, setting), getattr(found, setting)
        is_near = setting == 'rate' and abs(has - want) <= _RATE_TOLERANCE * want
        if want and want != has and not is_near:
            msg = f'{name}: camera_{setting} is {want}, but the camera has {has}; {_ADVICE}'
            raise ConfigError(msg)


def _open_stream(spec: str) -> cv2.VideoCapture:
    pipeline = _PIPELINE.fullmatch(spec)
    if pipeline is None:
        limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        words = [word for limit in limits for word in (limit, _TIMEOUT_MS)]
        return cv2.VideoCapture(spec, cv2.CAP_FFMPEG, words)
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        msg = f'{spec}: this OpenCV has no GStreamer; take that of the system (python3-opencv)'
        raise ConfigError(msg)
    elements = pipeline[1].strip()
    whole = elements if 'appsink' in elements else f'{elements} ! {_SINK}'
    return cv2.VideoCapture(whole, cv2.CAP_GSTREAMER)
