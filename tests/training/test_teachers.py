# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Where EfficientAD's teacher and natural images come from, with and without a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import io
from pathlib import Path
import re
import threading
from zipfile import ZipFile

from anomalib.data.utils import DownloadInfo
import cv2
import numpy as np
import pytest
import torch

from adet_core.errors import ConfigError
from adet_core.progress import silent
from adet_training import natural, teachers
from adet_training.cache_folder import cache_folder, make_once
from adet_training.distill import make_teacher
from adet_training.download import DownloadError
from adet_training.textures import draw_texture

pytestmark = pytest.mark.training

RECIPE = teachers.Recipe(
    model_size='small',
    backbone='mobilenetv3_small_050',
    layers=('blocks.1',),
    weights='random',
    natural_images='drawn',
    pieces=8,
    steps=0,
)


@dataclass
class Server:
    """What the server answers with, and what it was asked."""

    url: str = ''
    body: bytes = b''
    length: int | None = None
    asked: int = 0


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    assert cache_folder() == tmp_path / 'cache' / 'adet'
    return cache_folder()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of this machine, which HF_HUB_OFFLINE does not keep from being asked."""
    answers = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.asked += 1
            self.send_response(200)
            length = len(answers.body) if answers.length is None else answers.length
            self.send_header('Content-Length', str(length))
            self.end_headers()
            self.wfile.write(answers.body)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.delenv('HF_HUB_OFFLINE')
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as served:
        answers.url = f'http://127.0.0.1:{served.server_port}'
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield answers
        served.shutdown()
        thread.join()


def _official(server: Server, monkeypatch: pytest.MonkeyPatch, teacher: Path) -> DownloadInfo:
    """Let the server have an archive as Anomalib's."""
    packed = io.BytesIO()
    with ZipFile(packed, 'w') as archive:
        name = 'efficientad_pretrained_weights/pretrained_teacher_small.pth'
        archive.write(teacher, name)
    server.body = packed.getvalue()
    digest = hashlib.sha256(server.body).hexdigest()
    info = DownloadInfo('teachers.zip', f'{server.url}/teachers.zip', digest)
    monkeypatch.setattr(teachers, 'WEIGHTS_DOWNLOAD_INFO', info)
    return info


def test_the_official_teacher_is_downloaded_once(
    server: Server, cache: Path, teacher_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _official(server, monkeypatch, teacher_file)
    told: list[str] = []
    for _ in range(2):
        assert teachers.find_teacher('auto', progress=silent, tell=told.append) == 'official'
    assert server.asked == 1
    assert told[0].startswith('teacher=official: that of Anomalib, in ')
    found = teachers.open_teacher('official', RECIPE, progress=silent, tell=told.append)
    assert (found.spec.name, found.spec.weights) == ('pdn_small', 'file')
    assert found.spec.source == 'pretrained_teacher_small.pth of Anomalib'
    given = torch.load(teacher_file, weights_only=True)
    assert all(torch.equal(t, given[name]) for name, t in found.network.state_dict().items())
    assert not list(cache.rglob('*.zip'))


BAD_DOWNLOADS = {
    'corrupt': 'teachers.zip from 127.0.0.1:',
    'cut off': 'the download of teachers.zip from 127.0.0.1:',
    'no space': 'teachers.zip needs 2048000.0 GiB in ',
    'no server': '127.0.0.1:1 does not answer (',
    'no zip': 'teachers.zip cannot be unpacked (',
    'offline': '127.0.0.1:',
}


@pytest.mark.parametrize('case', BAD_DOWNLOADS)
def test_a_download_that_fails_is_told_and_leaves_nothing(
    case: str,
    server: Server,
    cache: Path,
    teacher_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    info = _official(server, monkeypatch, teacher_file)
    if case == 'corrupt':
        server.body = server.body[:-1] + b'?'
    elif case == 'cut off':
        server.length, server.body = len(server.body), server.body[:1000]
    elif case == 'no space':
        server.length = 10**15
        monkeypatch.setattr('adet_training.download._ROOM', 2.048e6 * 2**30 / 10**15)
    elif case == 'no server':
        info.url = 'http://127.0.0.1:1/teachers.zip'
    elif case == 'no zip':
        server.body = b'not a zip'
        info.hashsum = hashlib.sha256(server.body).hexdigest()
    else:
        monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    told: list[str] = []
    assert teachers.find_teacher('auto', progress=silent, tell=told.append) == 'backbone'
    start = 'teacher=backbone: the official teacher cannot be had; '
    assert told[0].startswith(start + BAD_DOWNLOADS[case])
    with pytest.raises(DownloadError, match=re.escape(f'teacher=official: {BAD_DOWNLOADS[case]}')):
        teachers.find_teacher('official', progress=silent, tell=told.append)
    assert [path.suffix for path in cache.iterdir()] == ['.lock']
    assert server.asked == (0 if case in {'no server', 'offline'} else 2)


def test_imagenette_is_downloaded_or_textures_are_drawn(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, image = io.BytesIO(), cv2.imencode('.png', np.full((40, 60, 3), 77, np.uint8))[1]
    with ZipFile(packed, 'w') as archive:
        archive.writestr('imagenette2/train/n1/a.png', image.tobytes())
    server.body = packed.getvalue()
    info = DownloadInfo('images.zip', f'{server.url}/images.zip', '0')
    monkeypatch.setattr(natural, 'IMAGENETTE_DOWNLOAD_INFO', info)
    told: list[str] = []
    assert natural.find_natural('auto', progress=silent, tell=told.append) == 'drawn'
    assert 'downloads Imagenette, 1.5 GB, once' in told[0]
    assert told[1].startswith('natural_images=drawn: drawn textures, not photographs; images.zip')
    with pytest.raises(DownloadError, match=r'^natural_images=imagenette: images.zip from'):
        natural.find_natural('imagenette', progress=silent, tell=told.append)

    info.hashsum = hashlib.sha256(server.body).hexdigest()
    assert natural.find_natural('auto', progress=silent, tell=told.append) == 'imagenette'
    assert told[-1].startswith('natural_images=imagenette: the photographs in ')
    images = natural.open_natural('imagenette', 32)
    assert images is not None
    torch.testing.assert_close(images.one(), torch.full((3, 32, 32), 77 / 255), atol=1e-3, rtol=0)
    before = server.asked
    for choice in ('drawn', 'none', str(cache)):
        assert natural.find_natural(choice, progress=silent, tell=told.append) == choice
    assert server.asked == before
    assert natural.open_natural('none', 32) is None


def test_drawn_textures_differ_and_follow_the_seed() -> None:
    drawn = natural.open_natural('drawn', 48)
    assert drawn is not None

    def some(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.stack([drawn.one() for _ in range(3)])

    assert torch.equal(some(1), some(1))
    images = some(1)
    assert images.shape == (3, 3, 48, 48)
    assert not torch.equal(images[0], images[1])
    assert all(image.std() > 0.01 for image in images)
    assert draw_texture(np.random.default_rng(0), 40).dtype == np.uint8


@pytest.mark.usefixtures('cache')
def test_a_distilled_teacher_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('adet_training.distill._MEASURED', 8)
    told: list[str] = []
    stages: list[str] = []

    def tell_stage(stage: str, *_: object) -> None:
        stages.append(stage)

    first, second = (
        teachers.open_teacher('distilled', RECIPE, progress=tell_stage, tell=told.append)
        for _ in range(2)
    )
    assert len(told) == 1
    assert stages.count('solving the last layer') == 1
    text = 'distilled from mobilenetv3_small_050, seed 0, with images of natural_images=drawn'
    assert (first.spec.source, first.spec.weights) == (text, 'random')
    states = first.network.state_dict(), second.network.state_dict()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert states[0].keys() == make_teacher('small').state_dict().keys()


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    with pytest.raises(ConfigError, match=r'Not a directory; XDG_CACHE_HOME names another folder'):
        make_once(cache_folder() / 'thing', Path.touch, silent)


def test_a_folder_is_made_once_by_those_who_want_it_together(cache: Path) -> None:
    made: list[int] = []
    waits = threading.Event()

    def make(part: Path) -> None:
        waits.wait(30)
        made.append(1)
        (part / 'file').write_text('whole')

    def tell(stage: str, *_: object) -> None:
        assert stage == 'waiting for another process'
        waits.set()

    # What a kill leaves behind.
    (cache / 'thing.part').mkdir(parents=True)
    (cache / 'thing.part' / 'half').touch()
    others = [
        threading.Thread(target=make_once, args=(cache / 'thing', make, tell)) for _ in range(2)
    ]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert made == [1]
    assert [path.name for path in (cache / 'thing').iterdir()] == ['file']


def test_a_make_that_fails_is_tried_again(cache: Path) -> None:
    def fail(part: Path) -> None:
        (part / 'half').touch()
        raise DownloadError('no')

    for _ in range(2):
        with pytest.raises(DownloadError):
            make_once(cache / 'thing', fail, silent)
    assert make_once(cache / 'thing', lambda part: (part / 'file').touch(), silent)
    assert not make_once(cache / 'thing', fail, silent)
