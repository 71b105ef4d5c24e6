# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Fetching and arranging VisA, with a small archive of its layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
import errno
import fcntl
import functools
import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import io
import multiprocessing
import os
from pathlib import Path
import re
import resource
import shutil
import signal
import socket
import subprocess
import tarfile
import threading
from typing import Any

import cv2
import numpy as np
import pytest
import visa as script

from adet_core.geometry import Geometry
from adet_core.io.folders import label_of, list_images

SCRIPTS = Path(script.__file__).parent
# Images for training, normal ones and anomalous ones for testing.
CATEGORIES = {'candle': (6, 2, 3), 'pipe_fryum': (4, 1, 2), 'pcb1': (3, 2, 1)}
HEADER = 'object,split,label,image,mask'


# ---- a small VisA


def _draw(path: Path, rng: np.random.Generator, *, defect: bool) -> None:
    pixels = np.full((48, 64, 3), 90, np.uint8)
    cv2.circle(pixels, (32, 24), 16, (160, 190, 210), -1)
    pixels += rng.integers(0, 40, pixels.shape, np.uint8)
    if defect:
        cv2.line(pixels, (24, 20), (40, 30), (0, 0, 0), 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def _write_csv(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # As in the real archive.
    path.write_bytes(''.join(f'{line}\r\n' for line in lines).encode())


@pytest.fixture(scope='session')
def visa_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What VisA_20220922.tar holds, with fewer and smaller images; not to be written to."""
    root = tmp_path_factory.mktemp('visa') / 'VisA'
    rng = np.random.default_rng(4)
    one, two = [HEADER], [HEADER]
    for category, (train, test, bad) in CATEGORIES.items():
        data = f'{category}/Data'
        annotations = ['image,label,mask']
        for number in range(train + test):
            image = f'{data}/Images/Normal/{number:04}.JPG'
            _draw(root / image, rng, defect=False)
            one.append(f'{category},{"train" if number < train else "test"},normal,{image},')
            two.append(f'{category},{"train" if number < 2 else "test"},normal,{image},')
            annotations.append(f'{image},normal,')
        for number in range(bad):
            image = f'{data}/Images/Anomaly/{number:03}.JPG'
            mask = f'{data}/Masks/Anomaly/{number:03}.png'
            _draw(root / image, rng, defect=True)
            # The kinds of defects are numbered: nearly black to the eye.
            labels = np.zeros((48, 64), np.uint8)
            cv2.line(labels, (24, 20), (40, 30), number + 1, 2)
            (root / mask).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / mask), labels)
            one.append(f'{category},test,anomaly,{image},{mask}')
            two.append(f'{category},{"train" if number < 1 else "test"},anomaly,{image},{mask}')
            annotations.append(f'{image},scratch,{mask}')
        _write_csv(root / category / 'image_anno.csv', annotations)
    _write_csv(root / 'split_csv' / '1cls.csv', one)
    _write_csv(root / 'split_csv' / '2cls_fewshot.csv', two)
    _write_csv(root / 'split_csv' / '2cls_highshot.csv', two)
    (root / 'LICENSE-DATASET').write_text('Attribution 4.0 International\n')
    return root


@pytest.fixture(scope='session')
def archive(visa_tree: Path) -> Path:
    """VisA's own archive has no folder around it all."""
    path = visa_tree.parent / 'VisA_20220922.tar'
    with tarfile.open(path, 'w') as tar:
        for entry in sorted(visa_tree.iterdir()):
            tar.add(entry, entry.name)
    return path


@pytest.fixture
def visa(visa_tree: Path, tmp_path: Path) -> Path:
    """An unpacked archive, for the test alone."""
    return shutil.copytree(visa_tree, tmp_path / 'download' / 'VisA')


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file() and path.name[0] != '.'
    }


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name[0] != '.']


def state(folder: Path) -> dict[Path, tuple[int, int]]:
    """Tells a file or folder that was made anew or written to from one that was only read."""
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob('*')
        if path.name[0] != '.'
    }


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---- a server


class Server(ThreadingHTTPServer):
    """Serves one archive.

    Attributes:
        gets: The range that each GET asked for, '' for all of it.
        drop: Breaks the connection after so many bytes, once for each number.
        has_ranges: Whether it can begin in the middle.
        size_announced: Whether it tells the size.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(('127.0.0.1', 0), _Handler)
        self.content = content
        self.gets: list[str] = []
        self.drop: list[int] = []
        self.has_ranges = self.size_announced = True

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.server_port}/VisA.tar'


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        wanted = self.headers.get('Range', '')
        self.server.gets.append(wanted)
        body = self._answer(wanted)
        if self.server.drop:
            body = body[: self.server.drop.pop(0)]
        with suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, wanted: str = '') -> bytes:
        body = self.server.content
        found = re.fullmatch(r'bytes=(\d+)-', wanted) if self.server.has_ranges else None
        if self.path != '/VisA.tar':
            self.send_error(404)
            return b''
        if found and int(found[1]) >= len(body):
            self.send_error(416)
            return b''
        self.send_response(206 if found else 200)
        if found:
            start = int(found[1])
            self.send_header('Content-Range', f'bytes {start}-{len(body) - 1}/{len(body)}')
            body = body[start:]
        if self.server.has_ranges:
            self.send_header('Accept-Ranges', 'bytes')
        if self.server.size_announced:
            self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        return body


@pytest.fixture
def server(archive: Path) -> Iterator[Server]:
    with Server(archive.read_bytes()) as server:
        thread = threading.Thread(target=functools.partial(server.serve_forever, 0.02))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


# ---- running it


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is meant for a proxy, and nobody waits between two tries."""
    monkeypatch.setenv('no_proxy', '*')
    monkeypatch.setattr('visa.time.sleep', lambda _: None)


class Run:
    """Runs the script; `told` is what it printed, `fails` its one line of error."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *words: object) -> list[str]:
        assert script.main([*map(str, words)]) == 0
        told = self._capfd.readouterr()
        assert told.err == ''
        return told.out.splitlines()

    def fails(self, *words: object) -> str:
        assert script.main([*map(str, words)]) == 1
        error = self._capfd.readouterr().err
        assert re.fullmatch(r'error: .+\n', error), error
        return error[len('error: ') : -1]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return Run(capfd)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / 'data' / 'download' / 'VisA'


def end_when_reached(monkeypatch, place: tuple[Any, str], times: int, words: list[object]) -> None:
    """Run the script in a process of its own, and end it where it calls a function so often."""
    context = multiprocessing.get_context('fork')
    reached, real, calls = context.Event(), getattr(*place), []

    def stop(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == times:
            reached.set()
            signal.pause()
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(*place, stop)
        process = context.Process(target=script.main, args=([*map(str, words)],))
        process.start()
    assert reached.wait(60)
    process.kill()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


# ---- fetching


@pytest.fixture
def fetch(server: Server, archive: Path, target: Path, run: Run) -> Callable[[], None]:
    """Fetches the archive, and looks at all that is there afterwards."""

    def fetch() -> None:
        told = run('download', '--url', server.url, '--dir', target, '--sha256', sha256(archive))
        assert told[-1] == f'ready: arrange it with {SCRIPTS}/move_VisA.sh'
        with tarfile.open(archive) as tar:
            files = {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}
        assert contents(target) == files
        assert names(target.parent) == ['VisA']

    return fetch


def begun(target: Path, data: bytes) -> None:
    """What an interrupted download left behind."""
    target.parent.mkdir(parents=True)
    target.with_name('VisA.tar.part').write_bytes(data)


def test_the_archive_is_fetched_and_unpacked(server, target, fetch, run):
    fetch()
    assert server.gets == ['']
    # Nothing left to do, not even to ask.
    before = state(target)
    assert run('download', '--url', server.url, '--dir', f'{target}/') == [
        f'{target}: already there'
    ]
    assert (len(server.gets), state(target)) == (1, before)


def test_a_download_goes_on_where_it_was_interrupted(server, archive, target, fetch):
    begun(target, archive.read_bytes()[:20_000])
    fetch()
    assert server.gets == ['bytes=20000-']


def test_a_broken_connection_is_taken_up_again(server, fetch):
    server.drop = [30_000]
    fetch()
    assert server.gets == ['', 'bytes=30000-']


def test_a_connection_that_always_breaks_is_given_up(server, target, run):
    server.drop = [10] * 10
    message = run.fails('download', '--url', server.url, '--dir', target)
    part = target.with_name('VisA.tar.part')
    assert message.startswith(f'{server.url}: the connection broke 5 times')
    assert message.endswith(f'run this again later; it continues from {part}')
    assert part.stat().st_size == 50


def test_a_server_that_cannot_go_on_starts_again(server, target, fetch):
    server.has_ranges = False
    begun(target, b'x' * 5000)
    fetch()


@pytest.mark.parametrize('excess', [b'', b'of another file'])
def test_a_part_as_large_as_the_archive_or_larger(server, archive, target, fetch, excess):
    begun(target, archive.read_bytes() + excess)
    fetch()
    assert server.gets == ([''] if excess else [])


def test_a_server_that_does_not_tell_the_size(server, fetch):
    server.size_announced = False
    fetch()


def test_an_unreachable_server_is_named_at_once(target, run):
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{unused.getsockname()[1]}/VisA.tar'
        message = run.fails('download', '--url', url, '--dir', target)
    assert message.startswith(f'{url}: ')
    assert message.endswith('check the network and the address, then run this again')
    assert names(target.parent) == []


def test_a_wrong_address_is_named_at_once(server, target, run):
    message = run.fails('download', '--url', f'{server.url}.gz', '--dir', target)
    assert message.startswith(f'{server.url}.gz: HTTP Error 404')
    assert server.gets == []


def test_a_wrong_checksum_is_refused_and_the_archive_kept(server, archive, target, fetch, run):
    # Without --sha256 it has to be the archive that everybody knows.
    message = run.fails('download', '--url', server.url, '--dir', target)
    told = f'its sha256 is {sha256(archive)}, not {script.SHA256}: '
    assert message.startswith(f'{target.with_name("VisA.tar")}: {told}')
    assert not target.exists()
    # Who trusts it need not fetch it again.
    fetch()
    assert len(server.gets) == 1


@pytest.fixture
def cramped() -> Iterator[Callable[[], None]]:
    """No file gets larger than 8 KiB, what comes nearest to a full disc; the call undoes it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * 1024, limits[1]))
    undo = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
    yield undo
    undo()


def test_a_full_disc(server, target, fetch, run, cramped):
    message = run.fails('download', '--url', server.url, '--dir', target)
    part = target.with_name('VisA.tar.part')
    assert message.startswith(f'{part}: cannot be written (File too large): is the disc full?')
    assert len(server.gets) == 1
    cramped()
    fetch()
    assert server.gets[1:] == [f'bytes={8 * 1024}-']


def with_entry(archive: Path, path: Path, info: tarfile.TarInfo) -> list[object]:
    """An archive with one more entry; returns the words to unpack it."""
    shutil.copy(archive, path)
    with tarfile.open(path, 'a') as tar:
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    return ['download', '--url', f'file://{path}', '--sha256', sha256(path)]


def test_a_disc_that_fills_up_while_unpacking(archive, target, tmp_path, run, request):
    info = tarfile.TarInfo('candle/large.JPG')
    info.size = 9 * 1024
    words = [*with_entry(archive, tmp_path / 'large.tar', info), '--dir', target]
    make_room = request.getfixturevalue('cramped')
    assert run.fails(*words) == (
        f'{tmp_path}/large.tar: cannot be unpacked (File too large): make room and run this again'
    )
    assert names(target.parent) == []
    make_room()
    run(*words)


def test_too_little_room_is_known_before(server, target, run, monkeypatch):
    usage = shutil.disk_usage('/')._replace(free=1000)
    monkeypatch.setattr('visa.shutil.disk_usage', lambda _: usage)
    message = run.fails('download', '--url', server.url, '--dir', target)
    assert re.match(rf'{target.parent}: \S+ MB are needed, 0.0 MB are free: make room', message)
    assert server.gets == []


def test_an_archive_in_a_file_stays_there(archive, visa_tree, target, run):
    named = target.parents[1] / 'a 100% full stick' / 'VisA:1.tar'
    named.parent.mkdir(parents=True)
    shutil.copy(archive, named)
    url = 'file://' + str(named).replace('%', '%25').replace(' ', '%20')
    run('download', '--url', url, '--dir', target, '--sha256', sha256(archive).upper())
    assert contents(target) == contents(visa_tree)
    assert named.is_file()


@pytest.mark.parametrize('size', [0, 100, 30_000])
def test_a_truncated_archive(archive, target, tmp_path, run, size):
    broken = tmp_path / 'broken.tar'
    broken.write_bytes(archive.read_bytes()[:size])
    words = ('--url', f'file://{broken}', '--dir', target, '--sha256', sha256(broken))
    assert run.fails('download', *words).startswith(f'{broken}: broken or no tar archive')
    assert names(target.parent) == []


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = '') -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    'bad',
    [
        entry('../escaped'),
        entry('candle/../../escaped'),
        entry('candle/..'),
        entry('/tmp/escaped'),
        entry('out', tarfile.SYMTYPE, '/etc'),
        entry('candle/out', tarfile.SYMTYPE, '../..'),
        entry('out', tarfile.LNKTYPE, 'split_csv/1cls.csv'),
        entry('pipe', tarfile.FIFOTYPE),
    ],
    ids=lambda bad: bad.name + (f' to {bad.linkname}' if bad.linkname else ''),
)
def test_an_entry_that_leads_out_of_the_folder(archive, target, tmp_path, run, bad):
    words = with_entry(archive, tmp_path / 'hostile.tar', bad)
    assert f'the entry {bad.name} leads out' in run.fails(*words, '--dir', target)
    assert names(target.parent) == []
    assert not [*tmp_path.rglob('escaped'), *Path('/tmp').glob('escaped')]


def test_an_archive_of_something_else(target, tmp_path, run):
    other = tmp_path / 'other.tar'
    with tarfile.open(other, 'w') as tar:
        tar.addfile(entry('readme.txt'))
    words = ('--url', f'file://{other}', '--dir', target, '--sha256', sha256(other))
    assert 'has no split_csv/1cls.csv: this is not VisA' in run.fails('download', *words)
    assert names(target.parent) == []


def test_an_interrupted_unpacking_leaves_nothing_under_the_name(
    archive, target, fetch, monkeypatch
):
    words = ['download', '--url', f'file://{archive}', '--dir', target]
    words += ['--sha256', sha256(archive)]
    place = (script, '_extract')
    end_when_reached(monkeypatch, place, 9, words)
    assert names(target.parent) == ['VisA.unpacking']
    fetch()


def test_a_folder_with_other_content_is_left_alone(server, target, fetch, run):
    target.mkdir(parents=True)
    (target / 'mine.txt').write_text('mine')
    message = run.fails('download', '--url', server.url, '--dir', target)
    assert message.startswith(f'{target}: exists and is not VisA')
    assert contents(target) == {'mine.txt': b'mine'}
    (target / 'mine.txt').unlink()
    fetch()


@pytest.mark.parametrize('lock', ['.VisA.lock', 'train/.VisA.lock'])
def test_two_at_once(archive, visa, tmp_path, run, lock):
    words = ['move', '--from', visa, '--data-root', tmp_path / 'data']
    if lock == '.VisA.lock':
        words = ['download', '--url', f'file://{archive}', '--dir', tmp_path / 'data' / 'VisA']
    file = tmp_path / 'data' / lock
    file.parent.mkdir(parents=True)
    with file.open('w') as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert 'another run is at work there' in run.fails(*words)


@pytest.mark.parametrize(
    'words',
    [
        ['download', '--url'],
        ['download', '--url', 'ftp://example.org/VisA.tar'],
        ['download', '--sha256', 'abc'],
        ['download', 'candle'],
        ['move', '--data-root'],
        ['move', '--link'],
        ['move', '--split', '../1cls'],
    ],
)
def test_wrong_usage_is_one_line(words, capfd):
    with pytest.raises(SystemExit) as ended:
        script.main(words)
    assert ended.value.code == 2
    assert re.fullmatch(r'error: .+; see --help\n', capfd.readouterr().err)


@pytest.mark.parametrize('name', ['download_VisA.sh', 'move_VisA.sh'])
def test_the_script_has_help_with_an_example(name):
    done = subprocess.run([SCRIPTS / name, '--help'], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f'usage: {name} [')
    assert f'example: data/shellscript/{name} ' in done.stdout
    assert done.stderr == ''


# ---- arranging


def arranged(visa_tree: Path, category: str) -> dict[str, bytes]:
    """What the folders of a category have to hold."""
    train, test, bad = CATEGORIES[category]
    data = visa_tree / category / 'Data'
    files = {}
    for number in range(train + test):
        name = f'{number:04}.JPG'
        place = f'train/VisA_{category}/' if number < train else f'test/VisA_{category}/normal/'
        files[place + name] = (data / 'Images' / 'Normal' / name).read_bytes()
    for number in range(bad):
        for place, origin, name in (
            ('anomaly', 'Images', f'{number:03}.JPG'),
            ('masks', 'Masks', f'{number:03}.png'),
        ):
            found = data / origin / 'Anomaly' / name
            files[f'test/VisA_{category}/{place}/{name}'] = found.read_bytes()
    return files


def all_arranged(visa_tree: Path) -> dict[str, bytes]:
    return functools.reduce(
        lambda files, category: files | arranged(visa_tree, category), CATEGORIES, {}
    )


def summary(category: str, how: str) -> str:
    train, test, bad = CATEGORIES[category]
    counts = f'train {train} normal; test {test} normal, {bad} anomaly, {bad} masks'
    return f'VisA_{category}: {counts} ({how})'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / 'data'


@pytest.fixture
def arrange(visa: Path, data: Path, run: Run) -> Callable[..., list[str]]:
    return functools.partial(run, 'move', '--from', visa, '--data-root', data)


@pytest.fixture
def refused(visa: Path, data: Path, run: Run) -> Callable[..., str]:
    return functools.partial(run.fails, 'move', '--from', visa, '--data-root', data)


def test_all_categories_are_arranged_as_hard_links(arrange, visa, visa_tree, data):
    assert arrange() == [summary(category, 'linked') for category in CATEGORIES]
    assert contents(data) == all_arranged(visa_tree)
    assert contents(visa) == contents(visa_tree)
    image = Path('candle/Data/Images/Normal/0000.JPG')
    assert (data / 'train' / 'VisA_candle' / image.name).samefile(visa / image)


def test_only_the_categories_named(arrange, visa_tree, data):
    assert arrange('pcb1') == [summary('pcb1', 'linked')]
    assert contents(data) == arranged(visa_tree, 'pcb1')
    assert arrange('candle', 'pcb1') == [
        summary('candle', 'linked'),
        summary('pcb1', 'already there'),
    ]


def test_a_second_run_changes_nothing(arrange, data):
    arrange()
    before = state(data)
    assert arrange() == [summary(category, 'already there') for category in CATEGORIES]
    assert state(data) == before


@pytest.fixture
def no_links(monkeypatch):
    def link(*_):
        raise OSError(errno.EXDEV, 'Invalid cross-device link')

    monkeypatch.setattr('visa.os.link', link)


@pytest.mark.usefixtures('no_links')
def test_copies_where_links_are_not_possible(arrange, refused, visa_tree, data):
    assert arrange() == [summary(category, 'copied') for category in CATEGORIES]
    assert contents(data) == all_arranged(visa_tree)
    image = data / 'train' / 'VisA_candle' / '0000.JPG'
    assert image.stat().st_nlink == 1
    assert arrange('candle') == [summary('candle', 'already there')]
    image.write_bytes(b'of the same name')
    assert refused().startswith(f'{image}: differs from ')


@pytest.mark.usefixtures('no_links')
def test_a_full_disc_while_copying(refused, data, monkeypatch):
    def copy(_, target):
        raise OSError(errno.ENOSPC, 'No space left on device', target)

    monkeypatch.setattr('visa.shutil.copyfile', copy)
    assert refused().endswith('No space left on device: make room and run this again')
    assert contents(data) == {}


def test_move_takes_the_images_out_of_the_download(arrange, visa, visa_tree, data):
    assert arrange('--move', 'candle') == [summary('candle', 'moved')]
    assert contents(data) == arranged(visa_tree, 'candle')
    assert [name for name in contents(visa) if 'candle' in name] == ['candle/image_anno.csv']
    # Nothing is left to compare with but the names.
    assert arrange('--move', 'candle') == [summary('candle', 'already there')]
    # What is arranged as links may still be moved.
    assert arrange('pcb1') == [summary('pcb1', 'linked')]
    assert arrange('--move', 'pcb1') == [summary('pcb1', 'moved')]
    assert contents(data) == {**arranged(visa_tree, 'candle'), **arranged(visa_tree, 'pcb1')}


def test_another_split_keeps_anomalies_out_of_training(arrange, data):
    assert arrange('--split', '2cls_fewshot', 'candle') == [
        'VisA_candle: train 2 normal; test 6 normal, 2 anomaly, 2 masks; '
        '1 anomaly of the training split not used (linked)'
    ]
    assert sorted(names(data / 'train' / 'VisA_candle')) == ['0000.JPG', '0001.JPG']


def test_quoted_fields_other_columns_and_masks_of_other_names(arrange, visa, data):
    anomaly = visa / 'candle' / 'Data' / 'Images' / 'Anomaly'
    (anomaly / '000.JPG').rename(anomaly / '000, "left".JPG')
    mask = visa / 'candle' / 'Data' / 'Masks' / 'Anomaly' / 'left.PNG'
    mask.with_name('000.png').rename(mask)
    (visa / 'split_csv' / 'mine.csv').write_text(
        '\ufeffobject,"image",mask,split,label,note\n'
        '"candle",candle/Data/Images/Normal/0000.JPG,,train,normal,"good, really"\n'
        '\n'
        '"candle","candle/Data/Images/Anomaly/000, ""left"".JPG",'
        '"candle/Data/Masks/Anomaly/left.PNG","test","anomaly",'
    )
    arrange('--split', 'mine')
    assert sorted(contents(data)) == [
        'test/VisA_candle/anomaly/000, "left".JPG',
        'test/VisA_candle/masks/000, "left".png',
        'train/VisA_candle/0000.JPG',
    ]


def test_an_unknown_category_stops_before_anything_is_made(refused, visa, data):
    told = f'not a category of {visa}/split_csv/1cls.csv; it has candle pipe_fryum pcb1'
    assert refused('candle', 'screw') == f'screw: {told}'
    assert not data.exists()


def test_no_download(refused, visa, data):
    shutil.rmtree(visa)
    message = refused()
    assert message.startswith(f'{visa}/split_csv/1cls.csv: no such file: run ')
    assert 'download_VisA.sh first' in message
    assert not data.exists()


@pytest.mark.parametrize('missing', ['Images/Normal/0007.JPG', 'Masks/Anomaly/001.png'])
def test_a_missing_image_leaves_nothing_half(arrange, refused, visa, visa_tree, data, missing):
    gone = visa / 'candle' / 'Data' / missing
    gone.unlink()
    assert refused().startswith(f'{gone}: missing, though {visa}/split_csv/1cls.csv names it: ')
    assert sorted(p.name for p in data.rglob('*')) == ['.VisA.lock', 'test', 'train']
    arrange('pcb1')
    assert contents(data) == arranged(visa_tree, 'pcb1')


@pytest.mark.parametrize('kind', ['train', 'test'])
def test_a_folder_with_other_content_is_not_touched(refused, data, kind):
    mine = data / kind / 'VisA_candle' / 'mine.png'
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b'mine')
    assert refused('candle').startswith(f'{mine.parent}: is there already, ')
    assert contents(data) == {f'{kind}/VisA_candle/mine.png': b'mine'}


def test_changes_in_an_arranged_folder_are_named(arrange, refused, visa, data):
    folder = data / 'test' / 'VisA_candle'
    arrange('candle')
    (folder / 'anomaly' / '003.JPG').write_bytes(b'')
    assert 'knows nothing of its anomaly/003.JPG: move the folder away' in refused('candle')
    (folder / 'anomaly' / '003.JPG').unlink()
    (folder / 'masks' / '001.png').unlink()
    assert f'{folder}: is there already, but without masks/001.png: ' in refused('candle')
    # What a file browser leaves behind is nobody's image.
    shutil.copy(visa / 'candle/Data/Masks/Anomaly/001.png', folder / 'masks')
    (folder / '.DS_Store').write_bytes(b'')
    assert arrange('candle') == [summary('candle', 'already there')]


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        ('candle,train,normal,../../../etc/passwd,', 'is no path inside the archive'),
        ('candle,train,normal,/etc/passwd,', 'is no path inside the archive'),
        ('candle,train,normal,,', 'is no path inside the archive'),
        ('../candle,train,normal,a.JPG,', 'is no name of a folder'),
        ('candle,val,normal,a.JPG,', 'is neither train nor test'),
        ('candle,test,good,a.JPG,', 'is neither normal nor anomaly'),
        ('candle,test,normal', 'has not 5 fields'),
        ('candle,train,normal,b/0000.JPG,', 'a second 0000.JPG of candle'),
    ],
)
def test_a_split_that_makes_no_sense(refused, visa, data, line, reason):
    table = visa / 'split_csv' / '1cls.csv'
    number = len(table.read_text().splitlines()) + 1
    with table.open('a') as file:
        file.write(f'{line}\n')
    message = refused()
    assert message.startswith(f'{table}:{number}: ')
    assert reason in message
    assert not data.exists()


@pytest.mark.parametrize(
    ('text', 'reason'),
    [('', 'names no images'), (f'{HEADER}\n', 'names no images'), ('a,b\n', 'has no column')],
)
def test_a_split_without_rows_or_columns(refused, visa, text, reason):
    (visa / 'split_csv' / '1cls.csv').write_text(text)
    assert reason in refused()


# In the test images of the second category, and in its training images.
@pytest.mark.parametrize('links', [16, 22])
def test_an_interrupted_run_leaves_nothing_half(
    arrange, visa, visa_tree, data, monkeypatch, links
):
    words = ['move', '--from', visa, '--data-root', data, '--move']
    end_when_reached(monkeypatch, (os, 'link'), links, words)
    seen = {name: data_of for name, data_of in contents(data).items() if '.partial' not in name}
    assert seen == arranged(visa_tree, 'candle')
    arrange('--move')
    assert contents(data) == all_arranged(visa_tree)
    assert not list(data.rglob('*.partial'))


# ---- both scripts, and what adet makes of it


@pytest.fixture
def own_checkout(archive: Path, tmp_path: Path) -> Path:
    """Both scripts were run in a folder of their own, so that their defaults lie there too."""
    scripts = shutil.copytree(SCRIPTS, tmp_path / 'data' / 'shellscript')
    words = ['--url', f'file://{archive}', '--sha256', sha256(archive)]
    for command in ([scripts / 'download_VisA.sh', *words], [scripts / 'move_VisA.sh']):
        subprocess.run(command, check=True)
    return tmp_path / 'data'


def test_adet_reads_what_both_scripts_made(own_checkout):
    assert (own_checkout / 'download' / 'VisA' / 'candle' / 'image_anno.csv').is_file()
    folder = own_checkout / 'test' / 'VisA_candle'
    assert len(list_images(own_checkout / 'train' / 'VisA_candle')) == 6
    labels = [label_of(path, folder) for path in list_images(folder)]
    assert labels == ['anomaly'] * 3 + ['normal'] * 2


def test_training_finds_labels_and_masks(own_checkout):
    dataset = pytest.importorskip('adet_training.dataset', reason='a robot does not train')
    for category, (train, test, bad) in CATEGORIES.items():
        data = dataset.load_category(own_checkout, f'VisA_{category}', Geometry.whole((48, 48)))
        assert data.is_labelled
        assert not data.unreadable
        assert len(data.train) == train
        assert [labelled.is_anomalous for labelled in data.test] == [True] * bad + [False] * test
        # Also where the kind of the defect is 1, of 255.
        assert all(labelled.mask.any() == labelled.is_anomalous for labelled in data.test)
