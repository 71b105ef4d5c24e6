# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Small trainings of a second or two, and copies of the drawn data to do harm to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
import shutil
from typing import Any, TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from adet_training.train import Run

CATEGORY = 'plate'
SETTINGS = {'image_size': 64, 'n_features': 24}

# A robot has neither torch nor anomalib, and runs all other tests.
collect_ignore_glob = [] if find_spec('anomalib') else ['test_*.py']

Learn = Callable[..., 'Run']


@pytest.fixture(scope='session', autouse=True)
def one_thread() -> Iterator[None]:
    """So little work is slower on several threads, and many times slower on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def learn(data_root: Path, tmp_path: Path) -> Learn:
    """Train a PaDiM as the fixture ``deployed`` does, except for what is named."""

    def learn(settings: dict[str, Any] | None = None, report: Any = None, **other: Any) -> Run:
        from adet_core.progress import silent
        from adet_training.quiet import quiet_libraries
        from adet_training.train import train, TrainConfig

        values: dict[str, Any] = {
            'model': 'padim',
            'category': CATEGORY,
            'data_root': data_root,
            'models_root': tmp_path / 'models',
            'backbone_weights': 'random',
            'settings': {**SETTINGS, **(settings or {})},
            'seed': 1,
        }
        with quiet_libraries():
            return train(TrainConfig(**{**values, **other}), report=report or silent)

    return learn


@pytest.fixture
def own_data(data_root: Path, tmp_path: Path) -> Path:
    """A copy of the drawn data, for the test alone."""
    return shutil.copytree(data_root, tmp_path / 'data')
