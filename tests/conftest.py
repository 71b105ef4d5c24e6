# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What all tests share: a small drawn data set, and a real model trained on it once."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
from typing import NamedTuple

from once import graphs_once, Once, unmeasured
import pytest

# Before rclpy is imported anywhere: tests hear nobody else, and nobody hears them.
os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
# Before torch is: so little work is slower on several threads, most of all in several processes.
os.environ.setdefault('OMP_NUM_THREADS', '1')
# Before the model hub's client is: tests take the weights of the installed package.
os.environ['HF_HUB_OFFLINE'] = '1'

CATEGORY = 'plate'
SIZE = 64


class Deployed(NamedTuple):
    """A model as a robot has it.

    Attributes:
        models_root: Holds ``PaDiM`` with bundle and engine.
        run_dir: The training run it came from.
        data_root: Holds ``train`` and ``test``.
    """

    models_root: Path
    run_dir: Path
    data_root: Path

    @property
    def bundle(self) -> Path:
        return self.models_root / 'PaDiM'

    @property
    def test_folder(self) -> Path:
        return self.data_root / 'test' / CATEGORY


@pytest.fixture(scope='session', autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the machine's key and timings out of the home of whoever runs the tests."""
    folder = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        # One for all workers: with keys of their own, each would make again what another one has
        # kept beside the graphs that they share.
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_STATE_HOME', str(folder / 'state'))
        yield


@pytest.fixture(scope='session')
def once(pytestconfig: pytest.Config) -> Iterator[Once]:
    """See `Once`."""
    made = Once(pytestconfig.cache.mkdir('once'))
    yield made
    made.check()


@pytest.fixture(scope='session')
def data_root(once: Once) -> Path:
    """A drawn data set: 12 normal images to learn from, 6 good and 10 bad ones to test."""
    from adet_synth import write_dataset

    counts = {'train': 12, 'test_normal': 6, 'test_anomaly': 10}
    return once(
        'data', lambda root: write_dataset(root, category=CATEGORY, **counts, size=128, seed=3)
    )


@pytest.fixture(scope='session')
def new_images(once: Once) -> Path:
    """15 normal images that no model of the tests has seen."""
    from adet_synth import write_dataset

    counts = {'train': 15, 'test_normal': 1, 'test_anomaly': 1}
    root = once(
        'new', lambda root: write_dataset(root, category=CATEGORY, **counts, size=128, seed=8)
    )
    return root / 'train' / CATEGORY


@pytest.fixture(scope='session')
def deployed(data_root: Path, once: Once) -> Deployed:
    """A small PaDiM, trained, deployed and exported by the real code; not to be written to."""

    def make(root: Path) -> None:
        from adet_core.bundle import copy_bundle
        from adet_training.export import export
        from adet_training.train import train, TrainConfig

        run = train(
            TrainConfig(
                model='padim',
                category=CATEGORY,
                data_root=data_root,
                models_root=root / 'pc',
                backbone_weights='auto',
                settings={'image_size': SIZE, 'n_features': 24},
                seed=1,
            )
        )
        with graphs_once(once):
            export(copy_bundle(run.bundle, root / 'robot' / 'PaDiM'))

    # Tests train the same again, and are measured.
    with unmeasured():
        root = once('deployed', make)
    (run_dir,) = (root / 'pc' / 'PaDiM' / CATEGORY).iterdir()
    return Deployed(root / 'robot', run_dir, data_root)
