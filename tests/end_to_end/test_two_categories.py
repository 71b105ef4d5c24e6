# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Bundles of several categories, from their runs to figures, by the commands."""

from __future__ import annotations

import json
from pathlib import Path
import shlex
import shutil
import subprocess
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from adet_core.records import read_records
from adet_core.retraining.new_category import learn_category

pytestmark = pytest.mark.ros

_DEADLINE_S = 240.0


def adet(*words: object) -> dict[str, Any]:
    done = subprocess.run(
        ['adet', *map(str, words), '--json'],
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_line_that_makes_two_kinds_of_parts(deployed, new_images, tmp_path):
    models = shutil.copytree(deployed.models_root, tmp_path / 'models')
    learned = learn_category(
        models / 'PaDiM', new_images, category='lid', models_root=models, threads=1
    )
    made = adet('deploy', learned.bundle.folder.parent, '--models-root', models, '--keep')
    assert made['bundle_dir'] == str(models / 'PaDiM' / 'lid')
    listed = adet('list', '--models-root', models)
    assert [one['category'] for one in listed['deployed']] == ['plate', 'lid']
    done = adet(
        *('inspect', '--model', 'padim', '--categories', 'lid,plate', '--threads', 1),
        *('--models-root', models, '--output-dir', tmp_path / 'out'),
        *('--source', deployed.test_folder / 'normal'),
    )
    assert done['complete']
    rows = list(read_records(Path(done['models']['padim']['results'])))
    assert {(row.category, row.bundle_id) for row in rows} == {('lid', learned.bundle.bundle_id)}
    # The next command names the bundles of both.
    figures = adet(*shlex.split(done['next'])[1:])
    assert figures['images'] == len(rows)
    assert done['next'].count('--bundle') == 2
