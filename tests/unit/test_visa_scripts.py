# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The two scripts that fetch and arrange VisA, run for real on a small archive of its layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
import functools
import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import io
import os
from pathlib import Path
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import threading
import time

import cv2
import numpy as np
import pytest

from adet_core.io.folders import label_of, list_images

SCRIPTS = Path(__file__).parents[2] / 'data' / 'shellscript'
DOWNLOAD, MOVE = SCRIPTS / 'download_VisA.sh', SCRIPTS / 'move_VisA.sh'
# All that the scripts may need besides curl or wget: each is on every Debian.
TOOLS = (
    'awk basename bash cat cmp comm cp cut df dirname env find flock ln ls mkdir mv numfmt '
    'realpath rm sha256sum sleep sort stat sync tail tar xargs'
)
CLIENTS = ('curl', 'wget')
# Images for training, normal ones and anomalous ones for testing.
CATEGORIES = {'candle': (6, 2, 3), 'pipe_fryum': (4, 1, 2), 'pcb1': (3, 2, 1)}
HEADER = 'object,split,label,image,mask'
_DEADLINE_S = 60.0


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


# ---- running the scripts


def _environment(path: str) -> dict[str, str]:
    # Nothing here is meant for a proxy.
    kept = {name: value for name, value in os.environ.items() if 'proxy' not in name.lower()}
    return {**kept, 'PATH': path}


def run(
    script: Path, *words: object, code: int = 0, path: str = os.environ['PATH']
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(script), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
        env=_environment(path),
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that says what is wrong."""
    assert re.fullmatch(r'error: .+\n', done.stderr), done.stderr
    return done.stderr[len('error: ') : -1]


def fails(script: Path, *words: object, code: int = 1, path: str = os.environ['PATH']) -> str:
    return error_of(run(script, *words, code=code, path=path))


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for PATH with no more than the tools the scripts may need."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name in TOOLS.split():
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, tools: Path) -> str:
    """A PATH with curl alone, and one with wget alone."""
    found = shutil.which(request.param)
    if not found:
        pytest.skip(f'{request.param} is not installed')
    (tools / request.param).symlink_to(found)
    return str(tools)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / 'data' / 'download' / 'VisA'


def replace_tool(tools: Path, name: str, lines: str) -> str:
    """Put a script in the place of a tool, and give the PATH."""
    (tools / name).unlink()
    (tools / name).write_text(f'#!/bin/bash\n{lines}\n')
    (tools / name).chmod(0o755)
    return str(tools)


def kill_when(flag: Path, number: signal.Signals, script: Path, *words: object, path: str) -> None:
    """Run a script and end it, with all it started, once a file appears."""
    process = subprocess.Popen(
        [str(script), *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=_environment(path),
    )
    end = time.monotonic() + _DEADLINE_S
    while not flag.exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    os.killpg(process.pid, number)
    assert process.wait(_DEADLINE_S) != 0


# ---- fetching


def test_the_archive_is_fetched_and_unpacked(
    server: Server, archive: Path, visa_tree: Path, target: Path, client: str
) -> None:
    words = ('--url', server.url, '--dir', target, '--sha256', sha256(archive).upper())

    run(DOWNLOAD, *words, path=client)

    assert contents(target) == contents(visa_tree)
    assert server.gets == ['']
    assert [p.name for p in target.parent.iterdir() if p.name[0] != '.'] == ['VisA']
    # Nothing left to do, not even to ask.
    before = state(target)
    done = run(DOWNLOAD, *words[:2], '--dir', f'{target}/', path=client)
    assert done.stdout == f'{target}: already there\n'
    assert (len(server.gets), state(target)) == (1, before)


def test_a_download_goes_on_where_it_was_interrupted(
    server: Server, archive: Path, visa_tree: Path, target: Path, client: str
) -> None:
    target.parent.mkdir(parents=True)
    target.with_name('VisA.tar.part').write_bytes(archive.read_bytes()[:20_000])

    run(DOWNLOAD, '--url', server.url, '--dir', target, '--sha256', sha256(archive), path=client)

    assert server.gets == ['bytes=20000-']
    assert contents(target) == contents(visa_tree)


def test_a_broken_connection_is_taken_up_again(
    server: Server, archive: Path, visa_tree: Path, target: Path, client: str
) -> None:
    server.drop = [30_000]

    run(DOWNLOAD, '--url', server.url, '--dir', target, '--sha256', sha256(archive), path=client)

    assert server.gets == ['', 'bytes=30000-']
    assert contents(target) == contents(visa_tree)


def test_a_server_that_cannot_go_on_starts_again(
    server: Server, archive: Path, visa_tree: Path, target: Path, client: str
) -> None:
    server.has_ranges = False
    target.parent.mkdir(parents=True)
    target.with_name('VisA.tar.part').write_bytes(b'x' * 5000)

    run(DOWNLOAD, '--url', server.url, '--dir', target, '--sha256', sha256(archive), path=client)

    assert contents(target) == contents(visa_tree)


@pytest.mark.parametrize('excess', [b'', b'of another file'])
def test_a_part_as_large_as_the_archive_or_larger(
    server: Server, archive: Path, target: Path, client: str, excess: bytes
) -> None:
    target.parent.mkdir(parents=True)
    target.with_name('VisA.tar.part').write_bytes(archive.read_bytes() + excess)

    run(DOWNLOAD, '--url', server.url, '--dir', target, '--sha256', sha256(archive), path=client)

    assert server.gets == ([''] if excess else [])


def test_a_server_that_does_not_tell_the_size(
    server: Server, archive: Path, visa_tree: Path, target: Path, client: str
) -> None:
    server.size_announced = False

    run(DOWNLOAD, '--url', server.url, '--dir', target, '--sha256', sha256(archive), path=client)

    assert contents(target) == contents(visa_tree)


def test_an_unreachable_server_is_named_at_once(target: Path, client: str) -> None:
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{unused.getsockname()[1]}/VisA.tar'
        began = time.monotonic()
        message = fails(DOWNLOAD, '--url', url, '--dir', target, path=client)

    assert time.monotonic() - began < 20
    assert message.startswith(f'{url}: ')
    assert message.endswith('check the network and the address, then run this again')
    assert not list(target.parent.glob('VisA*'))


def test_a_wrong_address_is_named_at_once(server: Server, target: Path, client: str) -> None:
    url = f'{server.url}.gz'

    message = fails(DOWNLOAD, '--url', url, '--dir', target, path=client)

    assert re.match(rf'{url}: .*(404|does not exist)', message)
    assert server.gets == []


def test_neither_curl_nor_wget(server: Server, target: Path, tools: Path) -> None:
    message = fails(DOWNLOAD, '--url', server.url, '--dir', target, path=str(tools))

    assert message == 'neither curl nor wget found: apt install curl'


def test_a_wrong_checksum_is_refused_and_the_archive_kept(
    server: Server, archive: Path, target: Path, client: str
) -> None:
    kept = target.with_name('VisA.tar')

    # Without --sha256 it has to be the archive that everybody knows.
    message = fails(DOWNLOAD, '--url', server.url, '--dir', target, path=client)

    known = re.search(r'^sha256=([0-9a-f]{64})$', DOWNLOAD.read_text(), re.MULTILINE)
    assert known
    assert message.startswith(f'{kept}: its sha256 is {sha256(archive)}, not {known[1]}: ')
    assert not target.exists()
    # Who trusts it need not fetch it again.
    run(DOWNLOAD, '--url', server.url, '--dir', target, '--sha256', sha256(archive), path=client)
    assert len(server.gets) == 1
    assert (target / 'LICENSE-DATASET').is_file()
    assert not kept.exists()


@pytest.fixture
def cramped(tmp_path: Path) -> Path:
    """The download where no file gets larger than 8 KiB: what comes nearest to a full disc."""
    script = tmp_path / 'cramped.sh'
    script.write_text(f'#!/bin/bash\ntrap "" XFSZ\nulimit -f 8\nexec {DOWNLOAD} "$@"\n')
    script.chmod(0o755)
    return script


def test_a_full_disc(
    server: Server, archive: Path, target: Path, client: str, cramped: Path
) -> None:
    words = ('--url', server.url, '--dir', target, '--sha256', sha256(archive))

    message = fails(cramped, *words, path=client)

    part = target.with_name('VisA.tar.part')
    assert message.startswith(f'{part}: cannot be written: is the disc full?')
    assert len(server.gets) == 1
    done = run(DOWNLOAD, *words, path=client)
    assert 'ready' in done.stdout
    assert server.gets[1:] == [f'bytes={8 * 1024}-']


def test_a_disc_that_fills_up_while_unpacking(
    archive: Path, target: Path, tmp_path: Path, cramped: Path
) -> None:
    large = shutil.copy(archive, tmp_path / 'large.tar')
    info = tarfile.TarInfo('candle/large.JPG')
    info.size = 9 * 1024
    with tarfile.open(large, 'a') as tar:
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    words = ('--url', f'file://{large}', '--dir', target, '--sha256', sha256(large))

    assert f'{large} cannot be unpacked: make room and run this again' in fails(cramped, *words)

    assert contents(target.parent) == {}
    run(DOWNLOAD, *words)


def test_too_little_room_is_known_before(server: Server, target: Path, client: str) -> None:
    path = replace_tool(Path(client), 'df', 'echo Avail; echo 1000')

    message = fails(DOWNLOAD, '--url', server.url, '--dir', target, path=path)

    assert re.match(rf'{target.parent}: \S+KB are needed, 1000B are free: make room', message)
    assert server.gets == []


def test_an_archive_in_a_file_stays_there(archive: Path, visa_tree: Path, target: Path) -> None:
    named = target.parents[1] / 'a 100% full stick' / 'VisA:1.tar'
    named.parent.mkdir(parents=True)
    shutil.copy(archive, named)
    url = 'file://' + str(named).replace('%', '%25').replace(' ', '%20')

    run(DOWNLOAD, '--url', url, '--dir', target, '--sha256', sha256(archive))

    assert contents(target) == contents(visa_tree)
    assert named.is_file()


def unpack(archive: Path, target: Path) -> str:
    message = fails(
        DOWNLOAD, '--url', f'file://{archive}', '--dir', target, '--sha256', sha256(archive)
    )
    assert [p for p in target.parent.iterdir() if p.name[0] != '.'] == []
    return message


@pytest.mark.parametrize('size', [0, 100, 30_000])
def test_a_truncated_archive(archive: Path, target: Path, tmp_path: Path, size: int) -> None:
    broken = tmp_path / 'broken.tar'
    broken.write_bytes(archive.read_bytes()[:size])

    assert unpack(broken, target).startswith(f'{broken}: broken or no tar archive')


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = '') -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mtime = kind, link, 1_663_800_000
    info.size = 3 if kind == tarfile.REGTYPE else 0
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
def test_an_entry_that_leads_out_of_the_folder(
    archive: Path, target: Path, tmp_path: Path, bad: tarfile.TarInfo
) -> None:
    hostile = shutil.copy(archive, tmp_path / 'hostile.tar')
    with tarfile.open(hostile, 'a') as tar:
        tar.addfile(bad, io.BytesIO(b'bad'))

    assert f'the entry {bad.name}' in unpack(hostile, target)
    assert not list(tmp_path.rglob('escaped'))


def test_an_archive_of_something_else(target: Path, tmp_path: Path) -> None:
    other = tmp_path / 'other.tar'
    with tarfile.open(other, 'w') as tar:
        tar.addfile(entry('readme.txt'), io.BytesIO(b'hi\n'))

    assert 'has no split_csv/1cls.csv: this is not VisA' in unpack(other, target)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_unpacking_leaves_nothing_under_the_name(
    archive: Path, visa_tree: Path, target: Path, tools: Path, number: signal.Signals
) -> None:
    flag = tools / 'flag'
    real = shutil.which('tar')
    half = f'if [[ $1 == --extract ]]; then {real} "$@" candle; touch {flag}; sleep 60; fi'
    path = replace_tool(tools, 'tar', f'PATH=/usr/bin:/bin\n{half}\nexec {real} "$@"')
    words = ('--url', f'file://{archive}', '--dir', target, '--sha256', sha256(archive))

    kill_when(flag, number, DOWNLOAD, *words, path=path)

    assert not target.exists()
    run(DOWNLOAD, *words)
    assert contents(target) == contents(visa_tree)
    assert [p.name for p in target.parent.iterdir() if p.name[0] != '.'] == ['VisA']


def test_a_folder_with_other_content_is_left_alone(archive: Path, target: Path) -> None:
    target.mkdir(parents=True)
    words = ('--url', f'file://{archive}', '--dir', target, '--sha256', sha256(archive))
    (target / 'mine.txt').write_text('mine')

    assert fails(DOWNLOAD, *words).startswith(f'{target}: exists and is not VisA')

    assert contents(target) == {'mine.txt': b'mine'}
    (target / 'mine.txt').unlink()
    run(DOWNLOAD, *words)


@pytest.mark.parametrize('script', [DOWNLOAD, MOVE])
def test_two_at_once(archive: Path, visa: Path, tmp_path: Path, script: Path) -> None:
    words = {
        DOWNLOAD: ('--url', f'file://{archive}', '--dir', tmp_path / 'data' / 'VisA'),
        MOVE: ('--from', visa, '--data-root', tmp_path / 'data'),
    }[script]
    lock = tmp_path / 'data' / ('.VisA.lock' if script == DOWNLOAD else 'train/.VisA.lock')
    lock.parent.mkdir(parents=True)
    with subprocess.Popen(['flock', lock, 'cat'], stdin=subprocess.PIPE) as holder:
        while not subprocess.run(['flock', '-n', lock, 'true'], check=False).returncode:
            time.sleep(0.02)
        message = fails(script, *words)
        assert holder.stdin
        holder.stdin.close()

    assert 'another run' in message


@pytest.mark.parametrize(
    ('script', 'words'),
    [
        (DOWNLOAD, ['--url']),
        (DOWNLOAD, ['--url', 'ftp://example.org/VisA.tar']),
        (DOWNLOAD, ['--sha256', 'abc']),
        (DOWNLOAD, ['candle']),
        (MOVE, ['--data-root']),
        (MOVE, ['--link']),
        (MOVE, ['--split', '../1cls']),
    ],
)
def test_wrong_usage(script: Path, words: list[str], tmp_path: Path) -> None:
    place = ['--dir', tmp_path / 'x'] if script == DOWNLOAD else ['--from', tmp_path / 'x']

    fails(script, *place, *words, code=2)


@pytest.mark.parametrize('script', [DOWNLOAD, MOVE])
def test_help(script: Path) -> None:
    done = run(script, '--help')

    assert done.stdout.startswith(f'usage: {script.name} [')
    assert 'example: ' in done.stdout
    assert done.stderr == ''


# ---- arranging


def arrange(visa: Path, data: Path, *words: object, **how: str) -> list[str]:
    return run(MOVE, '--from', visa, '--data-root', data, *words, **how).stdout.splitlines()


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


def test_all_categories_are_arranged_as_hard_links(
    visa: Path, visa_tree: Path, tmp_path: Path, tools: Path
) -> None:
    data = tmp_path / 'data'

    lines = arrange(visa, data, path=str(tools))

    assert lines == [summary(category, 'linked') for category in CATEGORIES]
    assert contents(data) == all_arranged(visa_tree)
    assert contents(visa) == contents(visa_tree)
    image = Path('candle/Data/Images/Normal/0000.JPG')
    assert (data / 'train' / 'VisA_candle' / image.name).samefile(visa / image)


def test_only_the_categories_named(visa: Path, visa_tree: Path, tmp_path: Path) -> None:
    data = tmp_path / 'data'

    assert arrange(visa, data, 'pcb1') == [summary('pcb1', 'linked')]
    assert contents(data) == arranged(visa_tree, 'pcb1')
    assert arrange(visa, data, 'candle', 'pcb1') == [
        summary('candle', 'linked'),
        summary('pcb1', 'already there'),
    ]


def test_a_second_run_changes_nothing(visa: Path, tmp_path: Path) -> None:
    data = tmp_path / 'data'
    arrange(visa, data)
    before = state(data)

    assert arrange(visa, data) == [summary(category, 'already there') for category in CATEGORIES]

    assert state(data) == before


def test_copies_where_links_are_not_possible(
    visa: Path, visa_tree: Path, tmp_path: Path, tools: Path
) -> None:
    data = tmp_path / 'data'
    path = replace_tool(tools, 'ln', 'echo "ln: Invalid cross-device link" >&2; exit 1')

    lines = arrange(visa, data, path=path)

    assert lines == [summary(category, 'copied') for category in CATEGORIES]
    assert contents(data) == all_arranged(visa_tree)
    image = data / 'train' / 'VisA_candle' / '0000.JPG'
    assert image.stat().st_nlink == 1
    assert arrange(visa, data, 'candle') == [summary('candle', 'already there')]
    image.write_bytes(b'of the same name')
    message = fails(MOVE, '--from', visa, '--data-root', data)
    assert message.startswith(f'{image}: differs from ')


def test_a_full_disc_while_copying(visa: Path, tmp_path: Path, tools: Path) -> None:
    replace_tool(tools, 'ln', 'exit 1')
    path = replace_tool(tools, 'cp', 'echo "cp: no room" >&2; echo "cp: at all" >&2; exit 1')

    message = fails(MOVE, '--from', visa, '--data-root', tmp_path / 'data', path=path)

    assert message == 'no room: make room and run this again'
    assert contents(tmp_path / 'data') == {}


def test_move_takes_the_images_out_of_the_download(
    visa: Path, visa_tree: Path, tmp_path: Path
) -> None:
    data = tmp_path / 'data'

    assert arrange(visa, data, '--move', 'candle') == [summary('candle', 'moved')]

    assert contents(data) == arranged(visa_tree, 'candle')
    assert [name for name in contents(visa) if 'candle' in name] == ['candle/image_anno.csv']
    # Nothing is left to compare with but the names.
    assert arrange(visa, data, '--move', 'candle') == [summary('candle', 'already there')]
    # What is arranged as links may still be moved.
    assert arrange(visa, data, 'pcb1') == [summary('pcb1', 'linked')]
    assert arrange(visa, data, '--move', 'pcb1') == [summary('pcb1', 'moved')]
    assert contents(data) == {**arranged(visa_tree, 'candle'), **arranged(visa_tree, 'pcb1')}


def test_another_split_keeps_anomalies_out_of_training(visa: Path, tmp_path: Path) -> None:
    data = tmp_path / 'data'

    (line,) = arrange(visa, data, '--split', '2cls_fewshot', 'candle')

    assert line == (
        'VisA_candle: train 2 normal; test 6 normal, 2 anomaly, 2 masks; '
        '1 anomaly of the training split not used (linked)'
    )
    names = {path.name for path in (data / 'train' / 'VisA_candle').iterdir()}
    assert names == {'0000.JPG', '0001.JPG'}


def test_quoted_fields_other_columns_and_masks_of_other_names(visa: Path, tmp_path: Path) -> None:
    anomaly = visa / 'candle' / 'Data' / 'Images' / 'Anomaly'
    odd = anomaly / '000, "left".JPG'
    (anomaly / '000.JPG').rename(odd)
    mask = visa / 'candle' / 'Data' / 'Masks' / 'Anomaly' / 'left.PNG'
    mask.with_name('000.png').rename(mask)
    (visa / 'split_csv' / 'mine.csv').write_text(
        '\ufeffobject,"image",mask,split,label,note\n'
        '"candle",candle/Data/Images/Normal/0000.JPG,,train,normal,"good, really"\n'
        '\n'
        '"candle","candle/Data/Images/Anomaly/000, ""left"".JPG",'
        '"candle/Data/Masks/Anomaly/left.PNG","test","anomaly",'
    )

    arrange(visa, tmp_path / 'data', '--split', 'mine')

    assert sorted(contents(tmp_path / 'data')) == [
        'test/VisA_candle/anomaly/000, "left".JPG',
        'test/VisA_candle/masks/000, "left".png',
        'train/VisA_candle/0000.JPG',
    ]


def test_an_unknown_category_stops_before_anything_is_made(visa: Path, tmp_path: Path) -> None:
    data = tmp_path / 'data'

    message = fails(MOVE, '--from', visa, '--data-root', data, 'candle', 'screw')

    csv = visa / 'split_csv' / '1cls.csv'
    assert message == f'screw: not a category of {csv}; it has candle pipe_fryum pcb1'
    assert not data.exists()


def test_no_download(tmp_path: Path) -> None:
    message = fails(MOVE, '--from', tmp_path / 'VisA', '--data-root', tmp_path / 'data')

    csv = tmp_path / 'VisA' / 'split_csv' / '1cls.csv'
    assert message.startswith(f'{csv}: no such file: run ')
    assert 'download_VisA.sh first' in message


@pytest.mark.parametrize('missing', ['Images/Normal/0007.JPG', 'Masks/Anomaly/001.png'])
def test_a_missing_image_leaves_nothing_half(
    visa: Path, visa_tree: Path, tmp_path: Path, missing: str
) -> None:
    data = tmp_path / 'data'
    gone = visa / 'candle' / 'Data' / missing
    gone.unlink()

    message = fails(MOVE, '--from', visa, '--data-root', data)

    assert message.startswith(f'{gone}: missing, though {visa}/split_csv/1cls.csv names it: ')
    assert sorted(p.name for p in data.rglob('*')) == ['.VisA.lock', 'test', 'train']
    arrange(visa, data, 'pcb1')
    assert contents(data) == arranged(visa_tree, 'pcb1')


@pytest.mark.parametrize('kind', ['train', 'test'])
def test_a_folder_with_other_content_is_not_touched(visa: Path, tmp_path: Path, kind: str) -> None:
    data = tmp_path / 'data'
    mine = data / kind / 'VisA_candle' / 'mine.png'
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b'mine')
    words = ('--from', visa, '--data-root', data, 'candle')

    message = fails(MOVE, *words)

    assert message.startswith(f'{mine.parent}: is there already, ')
    assert contents(data) == {f'{kind}/VisA_candle/mine.png': b'mine'}


def test_changes_in_an_arranged_folder_are_named(visa: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'data' / 'test' / 'VisA_candle'
    words = ('--from', visa, '--data-root', tmp_path / 'data', 'candle')
    run(MOVE, *words)

    (folder / 'anomaly' / '003.JPG').write_bytes(b'')
    assert 'knows nothing of its anomaly/003.JPG: move the folder away' in fails(MOVE, *words)
    (folder / 'anomaly' / '003.JPG').unlink()
    (folder / 'masks' / '001.png').unlink()
    assert fails(MOVE, *words).startswith(f'{folder}: is there already, but without masks/001.png')
    # What a file browser leaves behind is nobody's image.
    shutil.copy(visa / 'candle/Data/Masks/Anomaly/001.png', folder / 'masks')
    (folder / '.DS_Store').write_bytes(b'')
    assert run(MOVE, *words).stdout.endswith('(already there)\n')


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
def test_a_split_that_makes_no_sense(visa: Path, tmp_path: Path, line: str, reason: str) -> None:
    csv = visa / 'split_csv' / '1cls.csv'
    number = len(csv.read_text().splitlines()) + 1
    with csv.open('a') as file:
        file.write(f'{line}\n')

    message = fails(MOVE, '--from', visa, '--data-root', tmp_path / 'data')

    assert message.startswith(f'{csv}:{number}: ')
    assert reason in message
    assert not (tmp_path / 'data').exists()


@pytest.mark.parametrize(
    ('text', 'reason'),
    [('', 'names no images'), (f'{HEADER}\n', 'names no images'), ('a,b\n', 'has no column')],
)
def test_a_split_without_rows_or_columns(
    visa: Path, tmp_path: Path, text: str, reason: str
) -> None:
    (visa / 'split_csv' / '1cls.csv').write_text(text)

    assert reason in fails(MOVE, '--from', visa, '--data-root', tmp_path / 'data')


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
# In the training images of the second category, and in its test images.
@pytest.mark.parametrize('links', [16, 20])
def test_an_interrupted_run_leaves_nothing_half(
    visa: Path, visa_tree: Path, tmp_path: Path, tools: Path, number: signal.Signals, links: int
) -> None:
    data, flag, count = tmp_path / 'data', tools / 'flag', tools / 'count'
    stop = f'(( $(stat -c %s {count}) < {links} )) || {{ touch {flag}; sleep 60; }}'
    real = shutil.which('ln')
    path = replace_tool(
        tools, 'ln', f'PATH=/usr/bin:/bin\necho -n x >> {count}\n{stop}\nexec {real} "$@"'
    )

    kill_when(flag, number, MOVE, '--from', visa, '--data-root', data, '--move', path=path)

    seen = {name: data_of for name, data_of in contents(data).items() if '.partial' not in name}
    assert seen == arranged(visa_tree, 'candle')
    arrange(visa, data, '--move')
    assert contents(data) == all_arranged(visa_tree)
    assert not list(data.rglob('*.partial'))


# ---- what adet makes of it


@pytest.fixture
def own_checkout(archive: Path, tmp_path: Path) -> Callable[..., None]:
    """The scripts in a folder of their own, so that their defaults lie there too."""
    scripts = shutil.copytree(SCRIPTS, tmp_path / 'data' / 'shellscript')

    def both() -> None:
        run(scripts / DOWNLOAD.name, '--url', f'file://{archive}', '--sha256', sha256(archive))
        run(scripts / MOVE.name)

    return both


def test_adet_reads_what_both_scripts_made(
    own_checkout: Callable[[], None], tmp_path: Path
) -> None:
    own_checkout()

    assert (tmp_path / 'data' / 'download' / 'VisA' / 'candle' / 'image_anno.csv').is_file()
    train = list_images(tmp_path / 'data' / 'train' / 'VisA_candle')
    folder = tmp_path / 'data' / 'test' / 'VisA_candle'
    labels = [label_of(path, folder) for path in list_images(folder)]
    assert len(train) == 6
    assert labels == ['anomaly'] * 3 + ['normal'] * 2


def test_training_finds_labels_and_masks(own_checkout: Callable[[], None], tmp_path: Path) -> None:
    dataset = pytest.importorskip('adet_training.dataset', reason='a robot does not train')
    own_checkout()

    for category, (train, test, bad) in CATEGORIES.items():
        data = dataset.load_category(tmp_path / 'data', f'VisA_{category}', 48)

        assert data.is_labelled
        assert not data.unreadable
        assert len(data.train) == train
        assert [labelled.is_anomalous for labelled in data.test] == [True] * bad + [False] * test
        # Also where the kind of the defect is 1, of 255.
        assert all(labelled.mask.any() == labelled.is_anomalous for labelled in data.test)
