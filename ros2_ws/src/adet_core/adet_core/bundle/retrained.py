# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The ``retrain`` folder of a bundle: what was learned on the robot, and how to take it back.

``meta.json`` and the files beside it stay as they were deployed. A retrained set is a
``report.json`` and the files that replace their namesakes; it is in service for as long as it lies
in ``retrain`` and names the bundle beside it as the one it was made from. Sets that were in
service before are in ``retrain/history``, sets that failed a check in ``retrain/rejected``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
import fcntl
from pathlib import Path
import re
import shutil
from typing import IO

from adet_core.bundle.commit import open_committed, remove_committed, stage
from adet_core.bundle.reader import Bundle, file_entry, open_bundle
from adet_core.bundle.retrain_report import (
    content_id,
    REPORT_FILE,
    REPORT_LIMIT,
    RETRAIN_FOLDER,
    RetrainReport,
)
from adet_core.errors import BundleError
from adet_core.folder import Content, Folder, open_folder

HISTORY_FOLDER = 'history'
REJECTED_FOLDER = 'rejected'
_LOCK_FILE = '.running'
_UNFINISHED = '.unfinished-'
# Nothing else in these folders is ever removed.
_SET_NAME = re.compile(r'[0-9]{0,17}_[0-9a-f]{12}')


@dataclass(frozen=True)
class KeptSet:
    """A retrained set that is kept.

    Attributes:
        bundle_id: Its id.
        folder: Where it lies.
        report: Its ``report.json``.
    """

    bundle_id: str
    folder: Path
    report: RetrainReport


@contextmanager
def only_retraining(folder: Path) -> Iterator[None]:
    """Keep every other retraining of a bundle folder out while the block runs.

    The lock ends with the process, however that ends.

    Raises:
        BundleError: One runs already.
        OSError: The folder cannot be written.
    """
    with (
        open_folder(folder, RETRAIN_FOLDER, make=True) as home,
        home.open_lock(_LOCK_FILE) as file,
    ):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f'{folder}: is being retrained already; wait for that to end, or cancel it'
            raise BundleError(msg) from None
        yield


def write_retrained(
    bundle: Bundle, report: RetrainReport, contents: Mapping[str, Content], *, keep: int
) -> Bundle:
    """Put a retrained set into service; the one before it goes to the history.

    Args:
        bundle: What is in service now.
        report: Its ``files`` are filled in here.
        contents: The files that replace those of the bundle, and what writes each.
        keep: How many sets the history holds at most.

    Returns:
        The bundle as it is in service now.

    Raises:
        OSError: The folder cannot be written; what was in service before still is.
    """
    with (
        open_folder(bundle.folder, RETRAIN_FOLDER, make=True) as home,
        stage(home, contents) as staged,
    ):
        _write_report(staged, report, contents)
        with home.folder(HISTORY_FOLDER, make=True) as history:
            _keep_present(home, history)
            _prune(history, keep)
    return open_bundle(bundle.folder, in_service=True)


def write_thresholds(bundle: Bundle, report: RetrainReport, *, keep: int) -> Bundle:
    """Put other thresholds into service; what was learned stays, arguments as `write_retrained`.

    Raises:
        BundleError: A retrained file is missing or damaged.
        OSError: The folder cannot be written; what was in service before still is.
    """
    names = bundle.report.files if bundle.report else ()
    contents = {name: _own(bundle, name) for name in names}
    return write_retrained(bundle, report, contents, keep=keep)


def keep_rejected(
    bundle: Bundle, report: RetrainReport, contents: Mapping[str, Content], *, keep: int
) -> Path:
    """Put a set that failed its checks aside.

    Returns:
        Where it lies now.

    Raises:
        OSError: The folder cannot be written.
    """
    with open_folder(bundle.folder, RETRAIN_FOLDER, REJECTED_FOLDER, make=True) as home:
        with _new_set(home) as made:
            for name, write in contents.items():
                made.write(name, write)
            data = _write_report(made, report, contents)
            name = _set_name(report, data)
            home.move(made.path.name, home, name)
        _prune(home, keep)
    return home.path / name


def kept_sets(folder: Path) -> list[KeptSet]:
    """The sets in the history of a bundle folder, newest first; damaged ones are left out."""
    found = []
    try:
        history = open_folder(folder, RETRAIN_FOLDER, HISTORY_FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        return []
    with history:
        for name in _set_names(history):
            try:
                with history.folder(name) as kept:
                    data = _read_report(kept)
                report = RetrainReport.from_json(data)
            except (OSError, ValueError):
                continue
            found.append(KeptSet(content_id(data), history.path / name, report))
    return found


def rollback(folder: Path, to: str = '') -> Bundle:
    """Put an earlier state of a bundle folder back into service.

    What is in service now goes to the history, so a rollback can itself be undone.

    Args:
        folder: The bundle folder.
        to: Id of a set in the history or of the deployed bundle; empty for the state before the
            last retraining.

    Returns:
        The bundle as it is in service now.

    Raises:
        BundleError: There is nothing to go back to, or no such set.
        OSError: The folder cannot be written; what was in service before still is.
    """
    try:
        now = open_bundle(folder, in_service=True)
    except BundleError:
        # Damaged: then somebody has to say where to go.
        if not to:
            raise
        now = open_bundle(folder)
    if now.report is None and not to:
        msg = f'{folder}: is as it was deployed; there is nothing to roll back'
        raise BundleError(msg)
    wanted = to or (now.report.previous if now.report else '')
    if wanted == now.bundle_id and now.report:
        return now
    if wanted == now.base_id:
        # Even of a bundle that has none in service: there may be one that cannot be read.
        with (
            open_folder(folder, RETRAIN_FOLDER, make=True) as home,
            remove_committed(home, REPORT_FILE),
            home.folder(HISTORY_FOLDER, make=True) as history,
        ):
            _keep_present(home, history)
        return open_bundle(folder, in_service=True)
    kept = kept_sets(folder)
    chosen = next((one for one in kept if one.bundle_id == wanted), None)
    if chosen is None or chosen.report.base != now.base_id:
        known = [one.bundle_id for one in kept if one.report.base == now.base_id]
        choice = ', '.join([*known, f'{now.base_id} (as deployed)'])
        msg = f'{folder}: no kept set {wanted}; choose one of: {choice}'
        raise BundleError(msg)
    _put_back(folder, chosen)
    return open_bundle(folder, in_service=True)


def _put_back(folder: Path, chosen: KeptSet) -> None:
    names = [*chosen.report.files, REPORT_FILE]
    with (
        open_folder(folder, RETRAIN_FOLDER) as home,
        home.folder(HISTORY_FOLDER) as history,
        history.folder(chosen.folder.name) as kept,
        stage(home, {name: _copier(kept, name) for name in names}) as staged,
    ):
        for name, entry in chosen.report.files.items():
            if file_entry(staged, name) != entry:
                msg = f'{chosen.folder / name}: is damaged; choose another set'
                raise BundleError(msg)
        _keep_present(home, history)


def _write_report(folder: Folder, report: RetrainReport, contents: Mapping[str, Content]) -> bytes:
    files = {name: file_entry(folder, name) for name in contents}
    data = replace(report, files=files).to_json()
    folder.write(REPORT_FILE, lambda file: file.write(data))
    return data


@contextmanager
def _new_set(home: Folder) -> Iterator[Folder]:
    """A folder for a set, to be moved in the block; removed if the block raises."""
    for name in home.names():
        if name.startswith(_UNFINISHED):
            home.remove_folder(name)
    with home.new_folder(_UNFINISHED) as made:
        try:
            yield made
        except BaseException:
            home.remove_folder(made.path.name)
            raise


def _keep_present(home: Folder, history: Folder) -> None:
    """Link the set in service into the history; its files are replaced, never written into."""
    try:
        data = _read_report(home)
        report = RetrainReport.from_json(data)
    except (OSError, ValueError):
        # None, or one that could not be used anyway.
        return
    target = _set_name(report, data)
    if target in history.names():
        return
    with _new_set(history) as made:
        for name in [*report.files, REPORT_FILE]:
            home.link_or_copy(name, made)
        made.sync()
        history.move(made.path.name, history, target)
    history.sync()


def _read_report(folder: Folder) -> bytes:
    with open_committed(folder, REPORT_FILE) as file:
        return file.read(REPORT_LIMIT)


def _set_name(report: RetrainReport, data: bytes) -> str:
    """Sorts by time."""
    digits = ''.join(re.findall('[0-9]', report.created))
    return f'{digits[:17]}_{content_id(data)}'


def _set_names(folder: Folder) -> list[str]:
    """The names of the sets in a folder, newest first."""
    return [name for name in reversed(folder.names()) if _SET_NAME.fullmatch(name)]


def _prune(folder: Folder, keep: int) -> None:
    for name in _set_names(folder)[keep:]:
        folder.remove_folder(name)


def _own(bundle: Bundle, name: str) -> Content:
    """Copies a file of a bundle after its checksum has been verified."""

    def copy(target: IO[bytes]) -> None:
        with bundle.open(name) as file:
            shutil.copyfileobj(file, target, 1 << 20)

    return copy


def _copier(folder: Folder, name: str) -> Content:
    def copy(target: IO[bytes]) -> None:
        with folder.open(name) as file:
            shutil.copyfileobj(file, target, 1 << 20)

    return copy
