# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever interrupts a writer, a reader sees the whole old set of files or the whole new one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import random
import shutil
import subprocess
import sys
import textwrap
from typing import Any

import builders
from builders import FILES, flat_statistics, make_bundle
import pytest
import victims

from adet_core.bundle import Bundle, open_bundle, read_engine, write_atomic
from adet_core.bundle.commit import INCOMING, open_committed, stage
from adet_core.errors import BundleError
from adet_core.folder import open_folder

STEPS = [
    (os, 'fsync'),
    (os, 'open'),
    (os, 'fdopen'),
    (os, 'mkdir'),
    (os, 'fchmod'),
    (os, 'rename'),
    (os, 'link'),
    (os, 'listdir'),
    (Path, 'mkdir'),
]
CLEANING = [(os, 'unlink'), (os, 'rmdir')]


class _DiedError(BaseException):
    """What a killed process would not live to see."""


class _Fuse:
    """Lets ``count`` steps pass and fails the next one.

    Attributes:
        blown: Whether that has happened.
        dead: Whether the process counts as dead from then on, so that nothing tidies up.
    """

    def __init__(self, count: int, error: BaseException, *, dead: bool) -> None:
        self.count, self.error, self.dead = count, error, dead
        self.blown = False

    def guard(self, call: Callable[..., Any], *, counts: bool) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            if self.blown and self.dead:
                raise self.error
            if counts and not self.blown:
                self.blown = self.count == 0
                self.count -= 1
                if self.blown:
                    raise self.error
            return call(*arguments, **options)

        return step

    @contextmanager
    def lit(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for places, counts in ((STEPS, True), (CLEANING, False)):
                for owner, name in places:
                    guarded = self.guard(getattr(owner, name), counts=counts)
                    patch.setattr(owner, name, guarded)
            yield


INTERRUPTIONS = {
    'full disc': (OSError(28, 'No space left on device'), False),
    'ctrl-c': (KeyboardInterrupt(), False),
    'killed': (_DiedError(), True),
}


def _interrupt_everywhere(
    interruption: str, prepare: Callable[[], None], write: Callable[[], object]
) -> Iterator[None]:
    """Do ``write``, failing at its first step, then at its second..., until it succeeds."""
    error, dead = INTERRUPTIONS[interruption]
    for count in range(200):
        prepare()
        fuse = _Fuse(count, error, dead=dead)
        with fuse.lit():
            try:
                write()
            except (type(error), BundleError):
                assert fuse.blown  # the last round does not raise
        yield
        if not fuse.blown:
            assert count >= 5
            return
    pytest.fail('the writer never ends')


def _plain(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize('interruption', INTERRUPTIONS)
def test_a_bundle_that_is_replaced_is_the_old_or_the_new_one_after_any_interruption(
    tmp_path: Path, interruption: str
) -> None:
    old = make_bundle(tmp_path / 'old', arrays=flat_statistics(1), weights=b'old weights')
    new = make_bundle(tmp_path / 'new', arrays=flat_statistics(2), category='new')
    later = make_bundle(tmp_path / 'later', category='later')
    folder, seen = tmp_path / 'target', []

    def prepare() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(old.folder, folder)

    def write() -> None:
        make_bundle(folder, arrays=flat_statistics(2), category='new')

    for _ in _interrupt_everywhere(interruption, prepare, write):
        found = open_bundle(folder)
        seen.append(found.bundle_id)
        expected = {old.bundle_id: (1, b'old weights'), new.bundle_id: (2, b'weights')}
        level, weights = expected[found.bundle_id]
        assert found.weights() == weights
        assert (found.statistics()['mean'] == level).all()
        found.golden()
        make_bundle(folder, category='later')
        assert _plain(folder) == _plain(later.folder)  # and no leftovers

    # Once the new one is there, it stays.
    assert seen == sorted(seen, key=[old.bundle_id, new.bundle_id].index)
    assert set(seen) == {old.bundle_id, new.bundle_id}


@pytest.mark.parametrize('interruption', INTERRUPTIONS)
def test_a_first_bundle_is_there_whole_or_not_at_all_after_any_interruption(
    tmp_path: Path, interruption: str
) -> None:
    folder, outcomes = tmp_path / 'target', set()

    def prepare() -> None:
        shutil.rmtree(folder, ignore_errors=True)

    for _ in _interrupt_everywhere(interruption, prepare, lambda: make_bundle(folder)):
        try:
            builders.verify_all(open_bundle(folder))
            outcomes.add('whole')
        except BundleError as error:
            assert 'meta.json: missing' in str(error)  # noqa: PT017 - either will do
            outcomes.add('none')
        make_bundle(folder, seed=1)
        assert {path.name for path in folder.iterdir()} == FILES

    assert outcomes == {'whole', 'none'}


@pytest.mark.parametrize('interruption', INTERRUPTIONS)
def test_an_engine_is_the_old_or_the_new_one_after_any_interruption(
    tmp_path: Path, interruption: str
) -> None:
    bundle = make_bundle(tmp_path)
    engine, seen = tmp_path / 'engine', set()

    def prepare() -> None:
        builders.make_engine(bundle, b'old graph')

    for _ in _interrupt_everywhere(
        interruption, prepare, lambda: builders.make_engine(bundle, b'new graph')
    ):
        seen.add(read_engine(bundle).onnx)
        builders.make_engine(bundle, b'later')
        assert {path.name for path in engine.iterdir()} == {'model.onnx', 'model.json'}

    assert seen == {b'old graph', b'new graph'}


@pytest.mark.parametrize('interruption', INTERRUPTIONS)
def test_a_single_file_is_the_old_or_the_new_one_after_any_interruption(
    tmp_path: Path, interruption: str
) -> None:
    path, seen = tmp_path / 'report' / 'report.json', []

    def prepare() -> None:
        shutil.rmtree(path.parent, ignore_errors=True)
        write_atomic(path, b'old')

    for _ in _interrupt_everywhere(interruption, prepare, lambda: write_atomic(path, b'new')):
        seen.append(path.read_bytes())
        if interruption != 'killed':
            assert list(path.parent.iterdir()) == [path]

    assert set(seen) == {b'old', b'new'}
    assert seen[-1] == b'new'


def test_a_single_file_can_be_read_by_others(tmp_path: Path) -> None:
    write_atomic(tmp_path / 'a' / 'report.json', b'{}')
    assert (tmp_path / 'a' / 'report.json').stat().st_mode & 0o777 == 0o644


def test_files_of_a_bundle_can_be_read_by_others(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / 'a').folder
    for name in FILES:
        assert (folder / name).stat().st_mode & 0o444 == 0o444


def test_files_of_a_committed_set_count_before_they_are_moved(tmp_path: Path) -> None:
    (tmp_path / 'both').write_text('old')
    (tmp_path / 'only_old').write_text('old')
    (tmp_path / INCOMING).mkdir()
    (tmp_path / INCOMING / 'both').write_text('new')
    for name, content in (('both', b'new'), ('only_old', b'old')):
        with open_folder(tmp_path) as folder, open_committed(folder, name) as file:
            assert file.read() == content


def test_the_next_writer_finishes_what_was_committed(tmp_path: Path) -> None:
    (tmp_path / INCOMING).mkdir()
    (tmp_path / INCOMING / 'a').write_text('new')
    (tmp_path / 'a').write_text('old')
    (tmp_path / '.staging-left').mkdir()
    (tmp_path / '.staging-left' / 'a').write_text('never')
    with open_folder(tmp_path) as folder, stage(folder, {'b': lambda file: file.write(b'b')}):
        pass
    assert _plain(tmp_path) == {'a': b'new', 'b': b'b'}


def test_nothing_becomes_visible_when_the_block_raises(tmp_path: Path) -> None:
    def check() -> None:
        contents = {'a': lambda file: file.write(b'a')}
        with open_folder(tmp_path) as folder, stage(folder, contents) as staged:
            assert (staged.path / 'a').read_bytes() == b'a'
            # Others may have to read it there.
            assert staged.path.stat().st_mode & 0o777 == 0o755
            assert not (tmp_path / 'a').exists()
            msg = 'the check failed'
            raise ValueError(msg)

    with pytest.raises(ValueError, match='the check failed'):
        check()
    assert list(tmp_path.iterdir()) == []


def test_writers_take_turns(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys, builders
        from pathlib import Path
        folder, category, seed = sys.argv[1:]
        for _ in range(8):
            builders.make_bundle(Path(folder), category=category, seed=int(seed))
    """)
    command = [sys.executable, '-c', script, str(tmp_path / 'target')]
    here = Path(__file__).parent
    writers = [
        subprocess.Popen([*command, name, str(seed)], cwd=here)
        for seed, name in enumerate(('a', 'b'))
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    bundle = open_bundle(tmp_path / 'target')
    builders.verify_all(bundle)
    assert bundle.manifest.category in {'a', 'b'}
    assert {path.name for path in (tmp_path / 'target').iterdir()} == FILES


def test_a_writer_killed_at_any_instant_leaves_a_whole_bundle(tmp_path: Path) -> None:
    chance = random.Random(0)
    categories = set()
    with victims.nursery('bundle', tmp_path) as process:
        for number in range(1, 16):
            victims.kill_one(process, number, chance)
            bundle = open_bundle(tmp_path)
            builders.verify_all(bundle)
            _assert_unmixed(bundle)
            categories.add(bundle.manifest.category)
    assert len(categories) == 15  # each of them had written something
    make_bundle(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_a_reader_never_sees_a_mixture_while_bundles_are_replaced(tmp_path: Path) -> None:
    writer = textwrap.dedent("""
        import builders, itertools, sys
        from pathlib import Path
        for index in itertools.count():
            arrays = builders.flat_statistics(index)
            builders.make_bundle(
                Path(sys.argv[1]), arrays=arrays, category=str(index), weights=b'w' * index
            )
            print(index, flush=True)
    """)
    here = Path(__file__).parent
    seen: set[str] = set()
    with subprocess.Popen(
        [sys.executable, '-c', writer, str(tmp_path)], cwd=here, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == '0\n'
        try:
            while len(seen) < 40:
                seen.add(_read_persistently(tmp_path))
        finally:
            process.kill()
    builders.verify_all(open_bundle(tmp_path))


def _read_persistently(folder: Path) -> str:
    """Read all of a bundle; losing a race says so, and trying again soon succeeds."""
    for _ in range(20):
        try:
            bundle = open_bundle(folder)
            builders.verify_all(bundle)
            _assert_unmixed(bundle)
        except BundleError as error:
            assert str(error) == f'{folder}: was replaced since it was opened; try again'  # noqa: PT017
        else:
            return bundle.manifest.category
    pytest.fail('a reader had no chance in 20 attempts')


def _assert_unmixed(bundle: Bundle) -> None:
    assert (bundle.statistics()['mean'] == int(bundle.manifest.category)).all()
