# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras and streams: the newest image, settings that are kept, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import queue
import threading
from typing import Any

import cv2
import numpy as np
import pytest

from adet_core.errors import ConfigError, DatasetError
from adet_core.io.camera import CameraSettings, without_password
from adet_core.io.open_source import open_source

_SIZE = {cv2.CAP_PROP_FRAME_WIDTH: 640.0, cv2.CAP_PROP_FRAME_HEIGHT: 480.0}
_YUYV = float(cv2.VideoWriter.fourcc(*'YUYV'))


class Capture:
    """A camera that gives an image of a level whenever a test says so."""

    def __init__(self) -> None:
        self.levels: queue.Queue[int | None] = queue.Queue()
        self.decoded: list[int] = []
        self.grabbed = threading.Semaphore(0)
        self.values = {cv2.CAP_PROP_FPS: 30.0, cv2.CAP_PROP_FOURCC: _YUYV, **_SIZE}
        self.fixed: set[int] = set()
        self.refused: set[int] = set()
        self.asked: list[int] = []
        self.is_released = False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def set(self, name: int, value: float) -> bool:
        self.asked.append(name)
        if name not in self.fixed | self.refused:
            self.values[name] = value
        return name not in self.refused

    def get(self, name: int) -> float:
        return self.values[name]

    def grab(self) -> bool:
        self._level = self.levels.get(timeout=10)
        self.grabbed.release()
        return self._level is not None

    def release(self) -> None:
        self.is_released = True

    def feed(self, level: int) -> None:
        """Give images until one is decoded."""
        while level not in self.decoded:
            self.levels.put(level)
            assert self.grabbed.acquire(timeout=10)

    def retrieve(self) -> tuple[bool, np.ndarray]:
        assert self._level is not None
        self.decoded.append(self._level)
        return True, np.full((4, 6, 3), self._level, np.uint8)


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Capture:
    """What camera:7 is."""
    made = Capture()
    monkeypatch.setattr(cv2, 'VideoCapture', lambda index, *_: made if index == 7 else None)
    return made


@pytest.mark.parametrize('index', ['97', '999999', '/dev/v4l/by-id/none'])
def test_a_camera_that_does_not_exist_says_where_to_look(index: str) -> None:
    message = rf'^camera:{index}: cannot be opened; see which exist with: ls /dev/video\*'
    with pytest.raises(DatasetError, match=message):
        open_source(f'camera:{index}')


def test_a_camera_gives_the_newest_image_until_it_is_unplugged(capture: Capture) -> None:
    source = open_source('camera:7')
    assert source.is_live is True
    assert source.total is None
    frames = iter(source)
    capture.levels.put(1)
    frame = next(frames)
    assert frame.source == 'camera:7'
    assert frame.image is not None
    assert np.unique(frame.image.pixels).tolist() == [1]
    # What comes while nobody looks is taken, and not decoded.
    for level in (2, 3, 4):
        capture.levels.put(level)
    for _ in range(4):
        assert capture.grabbed.acquire(timeout=10)
    feeder = threading.Thread(target=capture.feed, args=(5,))
    feeder.start()
    frame = next(frames)
    feeder.join()
    assert frame.image is not None
    assert np.unique(frame.image.pixels).tolist() == [5]
    assert capture.decoded == [1, 5]
    capture.levels.put(None)
    with pytest.raises(DatasetError, match=r'^camera:7: no more frames; was it unplugged\?$'):
        list(frames)


def test_whoever_stops_looking_ends_the_thread(capture: Capture) -> None:
    capture.levels.put(1)
    frames = iter(open_source('camera:7'))
    next(frames)
    capture.levels.put(2)
    assert isinstance(frames, Iterator)
    before = threading.active_count()
    frames.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before - 1
    assert capture.is_released


def test_a_camera_is_asked_for_its_settings_in_the_order_they_depend_on(capture: Capture) -> None:
    wanted = CameraSettings(format='MJPG', width=1920, height=1080, rate=15.0, exposure=2.5)
    open_source('camera:7', camera=wanted)
    assert capture.asked == [
        cv2.CAP_PROP_BUFFERSIZE,
        cv2.CAP_PROP_FOURCC,
        cv2.CAP_PROP_FRAME_WIDTH,
        cv2.CAP_PROP_FRAME_HEIGHT,
        cv2.CAP_PROP_FPS,
        cv2.CAP_PROP_AUTO_EXPOSURE,
        cv2.CAP_PROP_EXPOSURE,
    ]
    assert capture.values[cv2.CAP_PROP_AUTO_EXPOSURE] == 1
    assert capture.values[cv2.CAP_PROP_EXPOSURE] == 25


@pytest.mark.parametrize(
    ('wanted', 'fixed', 'message'),
    [
        (
            {'format': 'MJPG'},
            cv2.CAP_PROP_FOURCC,
            'camera_format is MJPG, but the camera has YUYV',
        ),
        ({'width': 999}, cv2.CAP_PROP_FRAME_WIDTH, 'camera_width is 999, but the camera has 640'),
        ({'rate': 60.0}, cv2.CAP_PROP_FPS, 'camera_rate is 60.0, but the camera has 30.0'),
        ({'format': 'MJPEG'}, 0, "camera_format is 'MJPEG', expected four letters, e.g. MJPG"),
    ],
)
def test_a_setting_that_a_camera_does_not_take_is_told(
    capture: Capture, wanted: dict[str, Any], fixed: int, message: str
) -> None:
    capture.fixed.add(fixed)
    with pytest.raises(ConfigError, match=message):
        open_source('camera:7', camera=CameraSettings(**wanted))


def test_a_rate_may_be_a_little_off_and_an_exposure_may_be_missing(capture: Capture) -> None:
    capture.fixed.add(cv2.CAP_PROP_FPS)
    open_source('camera:7', camera=CameraSettings(rate=29.97))
    capture.refused.add(cv2.CAP_PROP_EXPOSURE)
    with pytest.raises(ConfigError, match='camera:7: takes no camera_exposure of 5 ms; see what'):
        open_source('camera:7', camera=CameraSettings(exposure=5))


@pytest.mark.parametrize('spec', ['rtsp://10.0.0.7/live', '/data', 'gstreamer:videotestsrc'])
def test_settings_of_a_camera_are_for_nothing_else(spec: str) -> None:
    with pytest.raises(ConfigError, match=r'camera_\* parameters are for camera:N'):
        open_source(spec, camera=CameraSettings(width=9))


class _Motion(BaseHTTPRequestHandler):
    """A network camera with a password: JPEGs without an end, as most of them send."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=cut')
        self.end_headers()
        for level in (60, 200):
            image = np.full((48, 64, 3), level, np.uint8)
            jpeg = cv2.imencode('.jpg', image)[1].tobytes()
            part = f'--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n'
            for _ in range(20):
                self.wfile.write(part.encode() + jpeg + b'\r\n')

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    """Of a `_Motion`."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), _Motion)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'127.0.0.1:{server.server_port}/video.mjpg'
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_stream_is_read_and_its_password_is_told_nobody(address: str) -> None:
    source = open_source(f'http://guard:secret@{address}')
    frames = iter(source)
    frame = next(frames)
    assert frame.source == f'http://{address}'
    assert frame.image is not None
    assert frame.image.size == (48, 64)
    with pytest.raises(DatasetError, match=f'^http://{address}: no more frames; did the stream'):
        list(frames)


def test_a_stream_that_nobody_sends_is_one_line() -> None:
    message = '^http://127.0.0.1:9/x: cannot be opened; try its address with another player'
    with pytest.raises(DatasetError, match=message):
        open_source('http://me:secret@127.0.0.1:9/x')


@pytest.mark.parametrize(
    ('spec', 'shown'),
    [
        ('rtsp://me:a@b:c@10.0.0.7:554/live?u=x@y', 'rtsp://10.0.0.7:554/live?u=x@y'),
        ('rtsp://10.0.0.7/live', 'rtsp://10.0.0.7/live'),
        ('/data/me@home', '/data/me@home'),
    ],
)
def test_the_name_of_a_source_has_no_password(spec: str, shown: str) -> None:
    assert without_password(spec) == shown


def test_a_pipeline_gets_a_sink_that_keeps_one_image(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[str] = []

    def open_capture(pipeline: str, backend: int) -> Capture:
        assert backend == cv2.CAP_GSTREAMER
        opened.append(pipeline)
        return Capture()

    monkeypatch.setattr(cv2, 'VideoCapture', open_capture)
    monkeypatch.setattr(cv2.videoio_registry, 'hasBackend', lambda _: False)
    with pytest.raises(ConfigError, match='this OpenCV has no GStreamer; take that of the system'):
        open_source('gstreamer:videotestsrc')
    monkeypatch.setattr(cv2.videoio_registry, 'hasBackend', lambda _: True)
    open_source('gstreamer:videotestsrc ! nvvidconv')
    own = f'filesrc location={tmp_path} ! decodebin ! appsink name=mine'
    open_source(f'gstreamer:{own}')
    sink = 'videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1'
    assert opened == [f'videotestsrc ! nvvidconv ! {sink}', own]
