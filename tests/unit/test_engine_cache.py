# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which engines that lie in a bundle's folder are used, and which never."""

from __future__ import annotations

from dataclasses import replace
import hashlib
import json
import shutil

from builders import make_bundle, make_engine
import pytest

from adet_core.bundle import BuildOptions, copy_bundle, open_bundle, PlanRecord
from adet_core.errors import BackendError, BundleError
from adet_core.inference.tensorrt.engine_cache import (
    load_plan,
    read_timings,
    save_plan,
    save_timings,
    StalePlanError,
)

PLAN = b'ptrt and so on'
RECORD = PlanRecord(
    graph_sha256='a' * 64,
    plan_sha256=hashlib.sha256(PLAN).hexdigest(),
    library='tensorrt',
    version='10.3.0',
    gpu='Orin',
    capability='8.7',
    precision='fp16',
    options=BuildOptions(workspace_mib=512),
    lengths={'bank:0': (64, 16384)},
)
WANTED = {
    name: getattr(RECORD, name)
    for name in ('graph_sha256', 'library', 'version', 'gpu', 'capability', 'precision', 'options')
}


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """Where this machine keeps its key."""
    folder = tmp_path / 'state'
    monkeypatch.setenv('XDG_STATE_HOME', str(folder))
    return folder / 'adet'


@pytest.fixture
def bundle(tmp_path):
    """A bundle with an engine that was kept."""
    bundle = make_bundle(tmp_path / 'PaDiM')
    make_engine(bundle)
    save_plan(bundle, PLAN, RECORD)
    return bundle


def engine(bundle, name):
    return bundle.folder / 'engine' / name


def test_what_was_kept_is_found_again(bundle):
    plan, record = load_plan(bundle, WANTED)
    assert plan == PLAN
    assert replace(record, seal='') == RECORD


@pytest.mark.usefixtures('bundle')
def test_the_key_is_for_its_owner_alone(state):
    assert (state / 'machine.key').stat().st_mode & 0o777 == 0o600
    assert [path.name for path in state.iterdir()] == ['machine.key']


def test_a_plan_that_came_with_a_copied_bundle_is_not_used(bundle, tmp_path, monkeypatch):
    copy = open_bundle(shutil.copytree(bundle.folder, tmp_path / 'copy'))
    assert load_plan(copy, WANTED)[0] == PLAN
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'another machine'))
    with pytest.raises(StalePlanError, match='was not built on this machine'):
        load_plan(copy, WANTED)


def test_a_deployed_copy_has_no_plan(bundle, tmp_path):
    copy = copy_bundle(bundle, tmp_path / 'robot' / 'PaDiM')
    make_engine(copy)
    with pytest.raises(StalePlanError, match='no engine has been built yet'):
        load_plan(copy, WANTED)


@pytest.mark.parametrize('name', WANTED)
def test_a_plan_of_something_else_is_not_used(bundle, name):
    with pytest.raises(StalePlanError, match=f'was built for {name} .*, now it is another'):
        load_plan(bundle, {**WANTED, name: 'another'})


def test_a_new_graph_makes_the_plan_stale(bundle):
    make_engine(bundle)
    with pytest.raises(StalePlanError, match='no engine has been built yet'):
        load_plan(bundle, WANTED)


def test_a_record_that_was_edited_is_not_used(bundle):
    path = engine(bundle, 'model.json')
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, 'plan': {**values['plan'], 'gpu': 'another'}}))
    with pytest.raises(StalePlanError, match='was not built on this machine'):
        load_plan(bundle, {**WANTED, 'gpu': 'another'})


@pytest.mark.parametrize(
    ('data', 'message'), [(PLAN[:-1], 'checksum mismatch'), (None, 'missing')]
)
def test_a_damaged_plan_is_not_used(bundle, data, message):
    path = engine(bundle, 'model.plan')
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(StalePlanError, match=rf'model\.plan.*{message}'):
        load_plan(bundle, WANTED)


def test_a_damaged_record_is_named(bundle):
    engine(bundle, 'model.json').write_text('{')
    with pytest.raises(BundleError, match=r'model\.json: not valid JSON'):
        load_plan(bundle, WANTED)


def test_a_plan_that_is_a_link_is_not_followed(bundle, tmp_path):
    path = engine(bundle, 'model.plan')
    path.symlink_to(path.rename(tmp_path / 'elsewhere'))
    with pytest.raises(StalePlanError, match=r'model\.plan'):
        load_plan(bundle, WANTED)


def test_a_disk_that_is_full_leaves_the_old_engine(bundle, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    new = replace(RECORD, plan_sha256=hashlib.sha256(b'new').hexdigest())
    before = sorted(path.name for path in engine(bundle, '.').iterdir())
    with monkeypatch.context() as patch:
        patch.setattr('os.fsync', full)
        with pytest.raises(BackendError, match=r'model\.plan: No space left on device'):
            save_plan(bundle, b'new', new)
    assert load_plan(bundle, WANTED)[0] == PLAN
    assert sorted(path.name for path in engine(bundle, '.').iterdir()) == before


def test_without_a_place_for_the_key_nothing_is_kept(bundle, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'file'))
    with pytest.raises(BackendError, match='set XDG_STATE_HOME to a folder'):
        save_plan(bundle, PLAN, RECORD)


def test_without_a_graph_no_plan_is_kept(bundle):
    engine(bundle, 'model.json').unlink()
    with pytest.raises(BundleError, match=r'model\.json: missing'):
        save_plan(bundle, PLAN, RECORD)


def test_timings_are_kept_for_the_next_build():
    assert read_timings() == b''
    save_timings(b'measured')
    assert read_timings() == b'measured'


def test_without_a_home_folder_one_line_says_so(bundle, monkeypatch):
    def fail(_):
        raise RuntimeError

    monkeypatch.delenv('XDG_STATE_HOME')
    monkeypatch.setattr('pathlib.Path.expanduser', fail)
    save_timings(b'timings')
    assert read_timings() == b''
    with pytest.raises(BackendError, match=r'XDG_STATE_HOME is .*set HOME'):
        save_plan(bundle, PLAN, RECORD)
