# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Folders that came from elsewhere: nothing in them makes adet write, delete or read outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path

import builders
from builders import flat_statistics, make_bundle
import pytest
from test_retrained import put, report_of

from adet_core.bundle import (
    copy_bundle,
    keep_rejected,
    only_retraining,
    open_bundle,
    read_engine,
    rollback,
)
from adet_core.errors import BundleError
from adet_core.folder import check_name, open_folder, readable_name, write_atomic


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """Somebody else's folder, which has to stay as it is."""
    folder = tmp_path / 'elsewhere'
    for name in ('20200101000000000_0123456789ab', '2019', '.staging-mine', '.unfinished-1'):
        (folder / name).mkdir(parents=True)
        (folder / name / 'report.json').write_text('mine')
    for name in ('model.pth', 'meta.json', 'report.json', '.running', 'model.onnx', 'model.json'):
        (folder / name).write_text('mine')

    def state() -> list[tuple[str, int, str]]:
        return sorted(
            (str(path), path.stat().st_nlink, path.read_text() if path.is_file() else '')
            for path in folder.rglob('*')
        )

    before = state()
    yield folder
    assert state() == before


def deploy(folder: Path) -> None:
    copy_bundle(make_bundle(folder.parent / 'source', seed=3), folder)


def export(folder: Path) -> None:
    builders.make_engine(open_bundle(folder), b'new graph')


def retrain(folder: Path) -> None:
    with only_retraining(folder):
        put(folder, 5, keep=1)
        put(folder, 6, keep=1)


def reject(folder: Path) -> None:
    bundle = open_bundle(folder, in_service=True)
    keep_rejected(bundle, report_of(bundle, 7, rejected='it is bad'), {}, keep=1)


WRITERS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    'deploy': (deploy, ['.incoming']),
    'export': (export, ['engine', 'engine/.incoming']),
    'retrain': (
        retrain,
        ['retrain', 'retrain/.incoming', 'retrain/history', 'retrain/.running'],
    ),
    'reject': (reject, ['retrain', 'retrain/rejected']),
}


@pytest.mark.parametrize(
    ('command', 'place'),
    [(command, place) for command, (_, places) in WRITERS.items() for place in places],
)
def test_a_link_in_a_bundle_makes_nobody_write_or_delete_elsewhere(
    bundle_folder: Path, elsewhere: Path, command: str, place: str
) -> None:
    link = bundle_folder / place
    if link.is_dir():
        link.rename(bundle_folder / 'moved')
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere / link.name if link.name == '.running' else elsewhere)

    with pytest.raises((BundleError, OSError), match=rf'{link.name}.* is a link|link, which'):
        WRITERS[command][0](bundle_folder)

    assert link.is_symlink()


def test_a_history_that_is_a_link_is_not_read_either(bundle_folder: Path, tmp_path: Path) -> None:
    made = put(bundle_folder, 5)
    rollback(bundle_folder)
    (bundle_folder / 'retrain' / 'history').rename(tmp_path / 'history')
    (bundle_folder / 'retrain' / 'history').symlink_to(tmp_path / 'history')
    with pytest.raises(OSError, match='is a link'):
        rollback(bundle_folder, made.bundle_id)


def test_an_engine_folder_that_is_a_link_is_not_read(bundle_folder: Path, tmp_path: Path) -> None:
    (bundle_folder / 'engine').rename(tmp_path / 'engine')
    (bundle_folder / 'engine').symlink_to(tmp_path / 'engine')
    with pytest.raises(BundleError, match=r'engine.* is a link'):
        read_engine(open_bundle(bundle_folder))


def test_a_report_cannot_name_files_of_somebody_else(bundle_folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / 'secret'
    secret.write_text('secret')
    put(bundle_folder, 5)
    path = bundle_folder / 'retrain' / 'report.json'
    path.write_text(path.read_text().replace('stats.npz', '../../secret'))
    with pytest.raises(BundleError, match=r'report\.json: .*is not a plain name'):
        open_bundle(bundle_folder, in_service=True)
    rollback(bundle_folder, open_bundle(bundle_folder).bundle_id)
    assert secret.stat().st_nlink == 1
    assert not list(bundle_folder.rglob('secret'))


@pytest.mark.timeout(20)
@pytest.mark.parametrize('kind', ['a link', 'a pipe'])
def test_a_kept_set_is_only_copied_from_regular_files(
    bundle_folder: Path, tmp_path: Path, kind: str
) -> None:
    made = put(bundle_folder, 5)
    rollback(bundle_folder)
    (kept,) = (bundle_folder / 'retrain' / 'history').iterdir()
    (kept / 'stats.npz').rename(tmp_path / 'stats.npz')
    if kind == 'a link':
        (kept / 'stats.npz').symlink_to(tmp_path / 'stats.npz')
    else:
        os.mkfifo(kept / 'stats.npz')
    with pytest.raises(OSError, match=r'is a link|not a regular file'):
        rollback(bundle_folder, made.bundle_id)
    assert open_bundle(bundle_folder, in_service=True).report is None


def test_only_sets_of_adet_are_removed_from_the_history(bundle_folder: Path) -> None:
    put(bundle_folder, 1)
    mine = bundle_folder / 'retrain' / 'history' / '2020_my_notes'
    mine.mkdir(parents=True)
    (mine / 'notes.txt').write_text('mine')
    for value in range(2, 6):
        put(bundle_folder, value, keep=1)
    assert (mine / 'notes.txt').read_text() == 'mine'
    assert len(list(mine.parent.iterdir())) == 2


def test_a_bundle_folder_that_a_person_linked_is_used(tmp_path: Path) -> None:
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'PaDiM').symlink_to(tmp_path / 'disk')
    make_bundle(tmp_path / 'PaDiM', arrays=flat_statistics())
    builders.verify_all(open_bundle(tmp_path / 'PaDiM'))
    assert (tmp_path / 'disk' / 'meta.json').is_file()


# ---- names

PLAIN = ['VisA_pipe_fryum', 'pipe fryum', 'Größe 3.5 mm', '管', 'a.b.c', '-x', 'x' * 255, '..a']
NOT_PLAIN = [
    '',
    '.',
    '..',
    '../../x',
    '/etc',
    'a/b',
    'a\0',
    'a\nb',
    '\ud800',
    'x' * 256,
    'é' * 128,
]


@pytest.mark.parametrize('name', PLAIN)
def test_ordinary_names_are_categories(tmp_path: Path, name: str) -> None:
    assert check_name(name) == name
    make_bundle(tmp_path, category=name)
    assert open_bundle(tmp_path).manifest.category == name


@pytest.mark.parametrize('name', NOT_PLAIN)
def test_a_category_that_is_no_name_of_a_folder_is_one_bundle_error(
    bundle_folder: Path, name: str
) -> None:
    builders.edit_meta(bundle_folder, lambda values: values.update(category=name))
    # Half of a UTF-16 pair is refused wherever it stands.
    message = r"meta\.json: (field 'category': '.* is not a plain name|not valid JSON .*surrogate)"
    with pytest.raises(BundleError, match=message) as caught:
        open_bundle(bundle_folder)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize('name', NOT_PLAIN)
def test_names_of_learned_images_are_checked(bundle_folder: Path, name: str) -> None:
    bundle = open_bundle(bundle_folder, in_service=True)
    report = report_of(bundle, 5, learned={'a' * 64: name})
    (bundle_folder / 'retrain').mkdir()
    (bundle_folder / 'retrain' / 'report.json').write_bytes(report.to_json())
    with pytest.raises(BundleError, match=r'report\.json: .*(not a plain name|surrogate)'):
        open_bundle(bundle_folder, in_service=True)


@pytest.mark.parametrize('raw', [b'part.png', b'\xff\xfe.png', b'two\nlines.png', b'\xff' * 250])
def test_any_file_has_a_readable_name(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / os.fsdecode(raw)
    name = check_name(readable_name(path))
    assert (name == path.name) == raw.isascii() or b'\n' in raw


# ---- one file


def test_a_lock_does_not_empty_what_it_locks(tmp_path: Path) -> None:
    (tmp_path / 'lock').write_text('mine')
    with open_folder(tmp_path) as folder, folder.open_lock('lock'):
        pass
    assert (tmp_path / 'lock').read_text() == 'mine'


def test_a_link_in_place_of_a_file_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / 'mine').write_text('mine')
    (tmp_path / 'report.json').symlink_to(tmp_path / 'mine')
    write_atomic(tmp_path / 'report.json', b'{}')
    assert (tmp_path / 'mine').read_text() == 'mine'
    assert (tmp_path / 'report.json').read_bytes() == b'{}'


def test_removing_a_folder_leaves_what_links_in_it_lead_to(
    tmp_path: Path, elsewhere: Path
) -> None:
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub' / 'link').symlink_to(elsewhere)
    with open_folder(tmp_path) as folder:
        folder.remove_folder('sub')
    assert not (tmp_path / 'sub').exists()
    (tmp_path / 'sub').symlink_to(elsewhere)
    with open_folder(tmp_path) as folder:
        folder.remove_folder('sub')
    assert (tmp_path / 'sub').is_symlink()


def test_a_memory_card_without_hard_links_keeps_copies(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(os, 'link', fail)
    first = put(bundle_folder, 5)
    put(bundle_folder, 6)
    assert rollback(bundle_folder).bundle_id == first.bundle_id
    assert open_bundle(bundle_folder, in_service=True).statistics()['mean'].flat[0] == 5
