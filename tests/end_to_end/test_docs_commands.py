# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The commands of a page, typed in the order in which they stand, in one folder."""

from __future__ import annotations

from pathlib import Path
import shutil
import subprocess

import pytest
from shell_blocks import blocks_of, PAGES, ROOT

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

pytestmark = [pytest.mark.ros, pytest.mark.training]

_DEADLINE_S = 400
# Small images and random weights: seconds, and no download. What a page says itself comes later
# on the command line, so it wins.
_QUICK = """
set -euo pipefail
adet() {
  local command=$1
  shift
  case $command in
    train) set -- --backbone-weights random --set image_size=64 "$@" ;;
    synth) set -- --size 128 "$@" ;;
  esac
  command adet "$command" "$@"
}
PS4='+ '
set -x
"""
SCRIPTS = {
    page: '\n'.join(block.text for block in blocks_of(page) if block.mark == 'run')
    for page in PAGES
}
# These pages begin in an empty folder.
FROM_NOTHING = (ROOT / 'README.md', ROOT / 'docs' / 'tutorial.md')
RUN = [page for page, script in SCRIPTS.items() if script]


@pytest.fixture
def desk(deployed, tmp_path):
    """A user's folder: images, a finished run, the bundle on the robot, a result file."""
    shutil.copytree(deployed.data_root / 'train' / 'plate', tmp_path / 'data/train/MyLine_bracket')
    shutil.copytree(deployed.test_folder, tmp_path / 'data/test/MyLine_bracket')
    shutil.copytree(deployed.bundle, tmp_path / 'models/PaDiM')
    shutil.copytree(deployed.run_dir, tmp_path / 'models/PaDiM/MyLine_bracket/20261123_101500')
    for name in ('examples', 'training'):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.parametrize('page', RUN, ids=lambda page: page.name)
def test_the_commands_of_a_page_work_in_order(page: Path, desk: Path):
    folder = desk / 'new' if page in FROM_NOTHING else desk
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ['bash', '-c', _QUICK + SCRIPTS[page]],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
