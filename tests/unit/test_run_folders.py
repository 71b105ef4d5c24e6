# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Where runs lie, and that a deployed bundle is never the only one when it is replaced."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import re

import builders
import pytest

from adet_core.bundle import open_bundle, read_engine
from adet_core.cli import main
from adet_core.deployed import deployed_categories, only_folder
from adet_core.errors import ConfigError
from adet_core.run_folders import keep_deployed, new_run_folder


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_run_folder(tmp_path, 'padim', 'plate'), range(24)))
    assert len(set(folders)) == 24
    for folder in folders:
        assert folder.is_dir()
        assert folder.parent == tmp_path / 'PaDiM' / 'plate'
        assert re.fullmatch(r'\d{8}_\d{6}', folder.name)


def test_a_deployed_bundle_without_a_run_gets_one_once(tmp_path: Path) -> None:
    deployed = builders.make_bundle(tmp_path / 'PaDiM')
    graph = builders.make_engine(deployed)
    kept = keep_deployed(deployed, tmp_path)
    assert kept.parent.parent == tmp_path / 'PaDiM' / deployed.manifest.category
    assert open_bundle(kept).bundle_id == deployed.bundle_id
    assert read_engine(open_bundle(kept)).onnx == graph
    # A run that is not whole is passed over.
    (kept.parent.parent / '20200101_000000' / 'pytorch').mkdir(parents=True)
    assert keep_deployed(deployed, tmp_path) == kept


def test_replacing_another_category_keeps_what_was_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = builders.make_bundle(tmp_path / 'PaDiM')
    other = builders.make_bundle(tmp_path / 'run' / 'pytorch', category='bolt')
    words = ['deploy', str(tmp_path / 'run'), '--models-root', str(tmp_path), '--replace']
    assert main(words) == 0
    told = re.search(r'what was there before is kept in (\S+)', capsys.readouterr().out)
    assert told
    assert open_bundle(Path(told[1])).bundle_id == before.bundle_id
    assert open_bundle(tmp_path / 'PaDiM').bundle_id == other.bundle_id


def test_a_bundle_without_a_name_is_the_only_one_or_that_of_the_model(tmp_path: Path) -> None:
    lid = builders.make_bundle(tmp_path / 'PaDiM' / 'lid', category='lid')
    # A copy under another name is no category.
    builders.make_bundle(tmp_path / 'PaDiM' / 'lid_before', category='lid')
    assert only_folder(tmp_path, 'padim') == lid.folder
    cup = builders.make_bundle(tmp_path / 'PaDiM' / 'cup', category='cup')
    with pytest.raises(ConfigError, match=r'several categories, name some: cup, lid$'):
        only_folder(tmp_path, 'padim')
    whole = builders.make_bundle(tmp_path / 'PaDiM')
    assert only_folder(tmp_path, 'padim') == whole.folder
    assert deployed_categories(tmp_path, 'padim') == {
        'plate': whole.folder,
        'cup': cup.folder,
        'lid': lid.folder,
    }
