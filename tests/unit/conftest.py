# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A ready bundle for the unit tests; copies of it are cheap."""

from __future__ import annotations

from pathlib import Path
import shutil

import builders
from hypothesis import settings
import pytest

# The same examples on every run and machine, and nothing written into the checkout.
settings.register_profile('adet', deadline=None, derandomize=True, database=None)
settings.load_profile('adet')


@pytest.fixture(scope='session')
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with its engine; not to be written to."""
    folder = tmp_path_factory.mktemp('template') / 'PaDiM'
    builders.make_engine(builders.make_bundle(folder))
    return folder


@pytest.fixture
def bundle_folder(template: Path, tmp_path: Path) -> Path:
    """A bundle with its engine, for the test alone."""
    return shutil.copytree(template, tmp_path / 'bundle')
