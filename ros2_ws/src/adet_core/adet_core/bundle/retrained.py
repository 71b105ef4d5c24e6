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
import os
from pathlib import Path
import shutil
from typing import IO

from adet_core.bundle.commit import (
    Content,
    open_committed,
    remove_committed,
    stage,
    sync_folder,
    write_synced,
)
from adet_core.bundle.reader import Bundle, file_entry, open_bundle
from adet_core.bundle.retrain_report import content_id, REPORT_FILE, RETRAIN_FOLDER, RetrainReport
from adet_core.errors import BundleError

HISTORY_FOLDER = 'history'
REJECTED_FOLDER = 'rejected'
_LOCK_FILE = '.running'
_UNFINISHED = '.unfinished-'


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
    home = folder / RETRAIN_FOLDER
    home.mkdir(exist_ok=True)
    with (home / _LOCK_FILE).open('wb') as file:
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
    home = bundle.folder / RETRAIN_FOLDER
    with stage(home, contents) as staged:
        _write_report(staged, report, contents)
        _keep_present(home)
        _prune(home / HISTORY_FOLDER, keep)
    return open_bundle(bundle.folder, in_service=True)


def keep_rejected(
    bundle: Bundle, report: RetrainReport, contents: Mapping[str, Content], *, keep: int
) -> Path:
    """Put a set that failed its checks aside.

    Returns:
        Where it lies now.

    Raises:
        OSError: The folder cannot be written.
    """
    home = bundle.folder / RETRAIN_FOLDER / REJECTED_FOLDER
    home.mkdir(parents=True, exist_ok=True)
    made = home / f'{_UNFINISHED}{os.getpid()}'
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    try:
        for name, write in contents.items():
            write_synced(made / name, write)
        data = _write_report(made, report, contents)
        folder = home / _set_name(report, data)
        made.rename(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    _prune(home, keep)
    return folder


def kept_sets(folder: Path) -> list[KeptSet]:
    """The sets in the history of a bundle folder, newest first; damaged ones are left out."""
    home = folder / RETRAIN_FOLDER / HISTORY_FOLDER
    found = []
    for path in sorted(home.glob('[0-9]*'), reverse=True):
        try:
            data = _read_report(path)
            report = RetrainReport.from_json(data)
        except (OSError, ValueError):
            continue
        found.append(KeptSet(content_id(data), path, report))
    return found


def rollback(folder: Path, to: str = '') -> Bundle:
    """Put an earlier state of a bundle folder back into service.

    What is in service now goes to the history, so this can itself be taken back.

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
    home = folder / RETRAIN_FOLDER
    if wanted == now.bundle_id and now.report:
        return now
    if wanted == now.base_id:
        # Even of a bundle that has none in service: there may be one that cannot be read.
        with remove_committed(home, REPORT_FILE):
            _keep_present(home)
        return open_bundle(folder, in_service=True)
    kept = kept_sets(folder)
    chosen = next((one for one in kept if one.bundle_id == wanted), None)
    if chosen is None or chosen.report.base != now.base_id:
        known = [one.bundle_id for one in kept if one.report.base == now.base_id]
        choice = ', '.join([*known, f'{now.base_id} (as deployed)'])
        msg = f'{folder}: no kept set {wanted}; choose one of: {choice}'
        raise BundleError(msg)
    names = [*chosen.report.files, REPORT_FILE]
    contents = {name: _copier(chosen.folder / name) for name in names}
    with stage(home, contents) as staged:
        for name, entry in chosen.report.files.items():
            if file_entry(staged / name) != entry:
                msg = f'{chosen.folder / name}: is damaged; choose another set'
                raise BundleError(msg)
        _keep_present(home)
    return open_bundle(folder, in_service=True)


def _write_report(folder: Path, report: RetrainReport, contents: Mapping[str, Content]) -> bytes:
    files = {name: file_entry(folder / name) for name in contents}
    data = replace(report, files=files).to_json()
    write_synced(folder / REPORT_FILE, lambda file: file.write(data))
    return data


def _keep_present(home: Path) -> None:
    """Link the set in service into the history; its files are replaced, never written into."""
    try:
        data = _read_report(home)
        report = RetrainReport.from_json(data)
    except (OSError, ValueError):
        # None, or one that could not be used anyway.
        return
    history = home / HISTORY_FOLDER
    history.mkdir(exist_ok=True)
    for leftover in history.glob(f'{_UNFINISHED}*'):
        shutil.rmtree(leftover, ignore_errors=True)
    target = history / _set_name(report, data)
    if target.exists():
        return
    made = history / f'{_UNFINISHED}{os.getpid()}'
    made.mkdir()
    for name in [*report.files, REPORT_FILE]:
        try:
            os.link(home / name, made / name)
        except OSError:
            # A file system without links, e.g. on a memory card.
            shutil.copyfile(home / name, made / name)
    sync_folder(made)
    made.rename(target)
    sync_folder(history)


def _read_report(folder: Path) -> bytes:
    with open_committed(folder, REPORT_FILE) as file:
        return file.read()


def _set_name(report: RetrainReport, data: bytes) -> str:
    """Sorts by time."""
    digits = ''.join(character for character in report.created if character.isdigit())
    return f'{digits[:17]}_{content_id(data)}'


def _prune(home: Path, keep: int) -> None:
    for path in sorted(home.glob('[0-9]*'), reverse=True)[keep:]:
        shutil.rmtree(path, ignore_errors=True)


def _copier(source: Path) -> Content:
    def copy(target: IO[bytes]) -> None:
        with source.open('rb') as file:
            shutil.copyfileobj(file, target, 1 << 20)

    return copy
