# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Fetch the VisA data set and arrange it as adet reads it, for download_VisA.sh and move_VisA.sh.

It needs Python alone, as data may be fetched before anything is installed. anomalib arranges VisA
as well, but copies all images into folders of other names.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, ExitStack
import csv
import fcntl
import filecmp
import hashlib
from http.client import HTTPException
import os
from pathlib import Path, PurePosixPath
import re
import shutil
from ssl import SSLError
import sys
import tarfile
import time
from typing import Any, NoReturn
from urllib.error import URLError
from urllib.parse import unquote
from urllib.request import Request, urlopen

DATA = Path(__file__).resolve().parents[1]
URL = 'https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar'
# Amazon publishes no checksum. This is the one that anomalib's downloader holds against the same
# address, of the archive of 1,929,840,640 bytes.
SHA256 = '2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362'
_SPLITS = 'split_csv'
_MARK = Path(_SPLITS, '1cls.csv')
_COLUMNS = ('object', 'split', 'label', 'image', 'mask')
_NETWORK_ERRORS = (URLError, HTTPException, SSLError, ConnectionError, TimeoutError)
_BLOCK = 1 << 20
_TRIES = 5
_TIMEOUT_S = 60

# Of train, test and unused: files below a category's folder, and where the archive has each.
Sets = Mapping[str, Mapping[str, str]]


class VisaError(Exception):
    """One line: what is wrong, and what to do."""


# ---- fetching


def download(url: str, folder: Path, sha256: str) -> None:
    """Fetch the archive and unpack it.

    Args:
        url: ``http://``, ``https://``, or ``file://``, which is read where it lies.
        folder: Appears when it is complete.
        sha256: Of the archive, in small letters.

    Raises:
        VisaError: The archive cannot be fetched, or is not VisA.
    """
    if (folder / _MARK).is_file():
        print(f'{folder}: already there')
        return
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise VisaError(f'{folder}: exists and is not VisA: move it away, or give another --dir')
    with _only_run(folder.parent, f'.{folder.name}.lock', '--dir'):
        if url.startswith('file://'):
            archive = Path(unquote(url.removeprefix('file://')))
            if not archive.is_file():
                raise VisaError(f'{archive}: no such file: check --url')
        else:
            archive = folder.with_name(f'{folder.name}.tar')
            if not archive.is_file():
                _fetch(url, archive)
        _check(archive, sha256)
        _unpack(archive, folder)
        # Its contents are all there is to it, and it is large.
        if not url.startswith('file://'):
            archive.unlink()
    print(f'ready: arrange it with {Path(__file__).with_name("move_VisA.sh")}')


def _fetch(url: str, archive: Path) -> None:
    """Fetch a file; what an earlier run has of it is continued."""
    part = archive.with_name(f'{archive.name}.part')
    try:
        with _open(url, 'HEAD') as response:
            size = int(response.headers['Content-Length'] or 0)
    except _NETWORK_ERRORS as error:
        advice = 'check the network and the address, then run this again'
        raise VisaError(f'{url}: {error}: {advice}') from None
    if size:
        # More than there is to get: not the same file.
        if _size(part) > size:
            part.unlink()
        _need_space(archive.parent, 2 * size - _size(part))
    print(f'fetching {url} ({_readable(size) if size else "of unknown size"}) to {part}')
    _get(url, part, size)
    if size and _size(part) != size:
        msg = f'{part}: has {_size(part)} bytes, the server announced {size}: run this again'
        raise VisaError(msg)
    part.rename(archive)


def _get(url: str, part: Path, size: int) -> None:
    """Get what is missing of a file, in several tries."""
    for number in range(1, _TRIES + 1):
        if size and _size(part) == size:
            return
        try:
            _continue(url, part)
        except _NETWORK_ERRORS as error:
            if number == _TRIES:
                advice = f'run this again later; it continues from {part}'
                msg = f'{url}: the connection broke {_TRIES} times ({error}): {advice}'
                raise VisaError(msg) from None
            time.sleep(number)
        except OSError as error:
            advice = 'is the disc full? Make room and run this again; it continues from there'
            raise VisaError(f'{part}: cannot be written ({error.strerror}): {advice}') from None
        else:
            return


def _continue(url: str, part: Path) -> None:
    """Get what is missing of a file; all of it where the server cannot begin in the middle."""
    with _open(url, 'GET', _size(part)) as response:
        with part.open('ab' if response.status == 206 else 'wb') as file:
            while block := response.read(_BLOCK):
                file.write(block)
                if sys.stderr.isatty():
                    print(_readable(file.tell()), end='\r', file=sys.stderr)
        if response.length:
            raise ConnectionError('the connection was closed')


def _open(url: str, method: str, begin: int = 0) -> Any:
    headers = {'Range': f'bytes={begin}-'} if begin else {}
    request = Request(url, headers=headers, method=method)  # noqa: S310 - the parser checks it
    return urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310


def _check(archive: Path, expected: str) -> None:
    print(f'checking {archive}', flush=True)
    found = hashlib.sha256()
    with archive.open('rb') as file:
        while block := file.read(_BLOCK):
            found.update(block)
    if found.hexdigest() != expected:
        advice = 'remove it and run this again, or give --sha256 if you trust it'
        msg = f'{archive}: its sha256 is {found.hexdigest()}, not {expected}: {advice}'
        raise VisaError(msg)


def _unpack(archive: Path, folder: Path) -> None:
    print(f'unpacking to {folder}', flush=True)
    _need_space(folder.parent, _size(archive))
    try:
        with tarfile.open(archive) as tar, _new_folder(f'{folder}.unpacking') as unpacking:
            for member in tar.getmembers():
                _extract(archive, tar, member, unpacking)
            if not (unpacking / _MARK).is_file():
                advice = 'this is not VisA, remove it or give another --url'
                raise VisaError(f'{archive}: has no {_MARK}: {advice}')
            _publish(unpacking, folder)
    except tarfile.TarError:
        msg = f'{archive}: broken or no tar archive: remove it and run this again'
        raise VisaError(msg) from None
    except OSError as error:
        advice = 'make room and run this again'
        raise VisaError(f'{archive}: cannot be unpacked ({error.strerror}): {advice}') from None


def _extract(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one entry, as a file of this user's with the usual permissions."""
    name = PurePosixPath(member.name)
    # VisA holds files and folders. A link could lead a later entry out of the folder.
    if not (member.isreg() or member.isdir()) or name.is_absolute() or '..' in name.parts:
        advice = 'this is not VisA, remove it'
        raise VisaError(f'{archive}: the entry {name} leads out of the folder: {advice}')
    path = folder / name
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    assert source is not None
    with path.open('wb') as file:
        shutil.copyfileobj(source, file, _BLOCK)


# ---- arranging


def arrange(
    source: Path, data_root: Path, *, split: str, move: bool, categories: Sequence[str]
) -> None:
    """Make ``train/VisA_<category>`` and ``test/VisA_<category>`` of the unpacked archive.

    Args:
        source: The unpacked archive.
        data_root: Gets hard links where possible, else copies.
        split: Which ``split_csv/<split>.csv`` says what is for training.
        move: Remove the images from the unpacked archive afterwards.
        categories: Which; none means all.

    Raises:
        VisaError: An image is missing, the split makes no sense, or a folder holds something else.
    """
    table = source / _SPLITS / f'{split}.csv'
    plan = _read_split(table)
    for category in categories:
        if category not in plan:
            raise VisaError(f'{category}: not a category of {table}; it has {" ".join(plan)}')
    with _only_run(data_root / 'train', '.VisA.lock', '--data-root'):
        for category in categories or plan:
            how = _arrange(table, data_root, category, plan[category])
            if move and _remove(source, plan[category]):
                how = 'moved'
            print(f'VisA_{category}: {_summary(plan[category])} ({how})', flush=True)


def _read_split(table: Path) -> dict[str, dict[str, dict[str, str]]]:
    """The sets of each category."""
    plan: dict[str, dict[str, dict[str, str]]] = {}
    try:
        file = table.open(encoding='utf-8-sig', errors='surrogateescape', newline='')
    except OSError:
        advice = f'run {Path(__file__).with_name("download_VisA.sh")} first, or give another'
        raise VisaError(f'{table}: no such file: {advice} --from or --split') from None
    with file:
        rows = csv.reader(file)
        try:
            header = next(rows, _COLUMNS)
            for name in _COLUMNS:
                _require(name in header, f'has no column {name}')
            for row in filter(None, rows):
                _require(len(row) == len(header), f'has not {len(header)} fields')
                _add(plan, dict(zip(header, row, strict=True)))
        except (csv.Error, ValueError) as error:
            advice = 'restore the file from the archive'
            raise VisaError(f'{table}:{rows.line_num}: {error}: {advice}') from None
    if not plan:
        raise VisaError(f'{table}: names no images: restore the file from the archive')
    return plan


def _require(holds: object, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _add(plan: dict[str, dict[str, dict[str, str]]], row: Mapping[str, str]) -> None:
    """Add the files of one line of a split."""
    category, split, label, image, mask = (row[name] for name in _COLUMNS)
    _require(re.fullmatch(r'[\w-]+', category, re.ASCII), f'"{category}" is no name of a folder')
    _require(split in ('train', 'test'), f'split "{split}" is neither train nor test')
    _require(label in ('normal', 'anomaly'), f'label "{label}" is neither normal nor anomaly')
    name = PurePosixPath(image)
    files = {name.name: image}
    if split == 'test':
        files = {f'{label}/{name.name}': image}
        if label == 'anomaly' and mask:
            # A mask is found by the name of its image, and by a suffix in small letters.
            files[f'masks/{name.stem}{PurePosixPath(mask).suffix.lower()}'] = mask
    elif label == 'anomaly':
        split = 'unused'
    known = plan.setdefault(category, {'train': {}, 'test': {}, 'unused': {}})[split]
    for target, source in files.items():
        is_inside = re.fullmatch(r'(?!/)[^\x00-\x1f]+', source) is not None
        is_inside &= not {'.', '..'} & set(source.split('/'))
        _require(is_inside, f'"{source}" is no path inside the archive')
        _require(target not in known, f'a second {target} of {category}')
        known[target] = source


def _arrange(table: Path, data_root: Path, category: str, sets: Sets) -> str:
    """Make both folders of a category beside their places; they appear when both are complete."""
    made, has_copies = [], False
    with ExitStack() as stack:
        # A folder to train from is the sign that a category is ready: it appears last.
        for name in ('test', 'train'):
            if not sets[name]:
                advice = 'choose another --split or category'
                raise VisaError(f'{table}: has no {name} images of {category}: {advice}')
            folder = data_root / name / f'VisA_{category}'
            if folder.is_dir() and any(folder.iterdir()):
                _compare(table, folder, sets[name])
                continue
            folder.parent.mkdir(exist_ok=True)
            partial = stack.enter_context(_new_folder(f'{folder.parent}/.{folder.name}.partial'))
            has_copies |= _fill(table, partial, sets[name])
            made.append((partial, folder))
        for partial, folder in made:
            _publish(partial, folder)
    return ('copied' if has_copies else 'linked') if made else 'already there'


def _fill(table: Path, folder: Path, files: Mapping[str, str]) -> bool:
    """Link files into a folder; returns whether some had to be copied."""
    archive, has_copies = table.parents[1], False
    for target, source in files.items():
        path = archive / source
        if not path.is_file():
            advice = f'if not by --move, remove {archive} and fetch it again'
            raise VisaError(f'{path}: missing, though {table} names it: {advice}')
        (folder / target).parent.mkdir(exist_ok=True)
        try:
            os.link(path.resolve(), folder / target)
        except OSError:
            # Another file system, or one without hard links.
            with _advice('make room and run this again'):
                shutil.copyfile(path, folder / target)
            has_copies = True
    return has_copies


def _compare(table: Path, folder: Path, files: Mapping[str, str]) -> None:
    """Fail unless a folder holds these files and nothing else."""
    paths = [path.relative_to(folder) for path in folder.rglob('*') if not path.is_dir()]
    # What a file browser leaves behind is nobody's image.
    found = {path.as_posix() for path in paths if not any(p[0] == '.' for p in path.parts)}
    for odd in sorted(found ^ files.keys()):
        what = f'and {table} knows nothing of its' if odd in found else 'but without'
        raise VisaError(f'{folder}: is there already, {what} {odd}: move the folder away')
    for target, source in files.items():
        path = table.parents[1] / source
        # With --move the source is gone, and the name is all there is to compare.
        if path.exists() and not filecmp.cmp(path, folder / target, shallow=False):
            raise VisaError(f'{folder / target}: differs from {path}: move the folder away')


def _remove(archive: Path, sets: Sets) -> bool:
    """Remove the images of a category from the archive; returns whether there were any."""
    paths = [archive / source for name in ('train', 'test') for source in sets[name].values()]
    there = [path for path in paths if path.exists()]
    for path in there:
        path.unlink()
    return bool(there)


def _summary(sets: Sets) -> str:
    tested = [target.partition('/')[0] for target in sets['test']]
    counts = ', '.join(f'{tested.count(name)} {name}' for name in ('normal', 'anomaly', 'masks'))
    unused = len(sets['unused'])
    note = f'; {unused} anomaly of the training split not used' if unused else ''
    return f'train {len(sets["train"])} normal; test {counts}{note}'


# ---- files


@contextmanager
def _advice(advice: str) -> Iterator[None]:
    """Say what to do where a file or folder cannot be made."""
    try:
        yield
    except OSError as error:
        raise VisaError(f'{error.filename}: {error.strerror}: {advice}') from None


@contextmanager
def _only_run(folder: Path, lock: str, option: str) -> Iterator[None]:
    """Make a folder and hold a lock in it: two at once would write into the same files."""
    with _advice(f'give another {option}'):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / lock).open('w')
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f'{folder}: another run is at work there: wait for that one'
            raise VisaError(msg) from None
        yield


@contextmanager
def _new_folder(path: str) -> Iterator[Path]:
    """An empty folder, which is removed at the end unless it has got another name."""
    folder = Path(path)
    # Left behind where nothing could clean up: a power cut, kill -9.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(partial: Path, folder: Path) -> None:
    os.sync()
    with _advice('move it away and run this again'):
        partial.rename(folder)


def _need_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        msg = f'{_readable(size)} are needed, {_readable(free)} are free'
        raise VisaError(f'{folder}: {msg}: make room, or give another --dir')


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _readable(size: int) -> str:
    return f'{size / 1e6:.1f} MB'


# ---- the command line


class _Parser(argparse.ArgumentParser):
    """Tells of wrong usage in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f'error: {message}; see --help\n')


def _text(pattern: str, wanted: str) -> Callable[[str], str]:
    """A type of an option: text of a certain form."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f'{text}: {wanted}')
        return text

    return check


def _parser() -> _Parser:
    parser = _Parser(prog='visa.py')
    commands = parser.add_subparsers(dest='command', required=True)

    def add(name: str, description: str, example: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            prog=f'{name}_VisA.sh',
            description=description,
            epilog=f'example: data/shellscript/{name}_VisA.sh {example}',
            allow_abbrev=False,
        )

    one = add(
        'download',
        'Fetch the VisA data set (1.8 GB, CC BY 4.0) and unpack it. '
        'Run it again after an interruption: it continues from there.',
        '--url file:///media/usb/VisA_20220922.tar',
    )
    address = _text('https?://[^/].*|file:///.*', 'give http://, https:// or file:///')
    digits = _text('[0-9A-Fa-f]{64}', 'not 64 hexadecimal digits')
    unpacked = DATA / 'download' / 'VisA'
    one.add_argument('--url', type=address, default=URL, help='another address of the archive')
    one.add_argument('--dir', type=Path, default=unpacked, help='where to unpack it')
    one.add_argument('--sha256', type=digits, default=SHA256, help="another archive's checksum")

    one = add(
        'move',
        'Arrange VisA as adet reads it, all categories or those named. Images are hard links '
        'where possible, else copies: the download stays as it is.',
        'pipe_fryum candle',
    )
    name = _text(r'[\w-]+', 'not the name of a file in split_csv')
    one.add_argument('--from', type=Path, default=unpacked, help='the unpacked archive')
    one.add_argument('--data-root', type=Path, default=DATA, help='gets train/ and test/')
    one.add_argument('--split', type=name, default='1cls', help='which split_csv/SPLIT.csv')
    one.add_argument('--move', action='store_true', help='remove the images from the download')
    one.add_argument('categories', nargs='*', metavar='CATEGORY')
    return parser


def main(words: Sequence[str]) -> int:
    """Run ``download`` or ``move`` with its options; returns the exit code."""
    given = vars(_parser().parse_args(words))
    try:
        if given.pop('command') == 'download':
            download(given['url'], given['dir'].resolve(), given['sha256'].lower())
        else:
            arrange(given.pop('from').resolve(), given.pop('data_root').resolve(), **given)
    except (VisaError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
