# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Small trainings of a second or two, and copies of the drawn data to do harm to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
import functools
from importlib.util import find_spec
import json
from pathlib import Path
import shutil
from typing import Any, TYPE_CHECKING

from once import graphs_once, Once, unmeasured
import pytest
from tiny_models import Learn, quickly, through_graph, tiny, Train, Trained, weights_of

if TYPE_CHECKING:
    from adet_training.train import Run

CATEGORY = 'plate'

# A robot has neither torch nor anomalib, and runs all other tests.
collect_ignore_glob = [] if find_spec('anomalib') else ['test_*.py']
if not collect_ignore_glob:
    with unmeasured():
        import anomalib.models  # noqa: F401 - every test needs it, and half of its libraries


@pytest.fixture(scope='session', autouse=True)
def one_thread() -> Iterator[None]:
    """So little work is slower on several threads, and many times slower on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='session', autouse=True)
def thin() -> Iterator[None]:
    """See `thin_network`."""
    from thin_network import thin_networks

    with thin_networks():
        yield


@pytest.fixture(autouse=True)
def cache_home(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep caches out of the home of whoever runs the tests."""
    # Kept: matplotlib lists the fonts there, which takes seconds.
    monkeypatch.setenv('XDG_CACHE_HOME', str(pytestconfig.cache.mkdir('home')))


@pytest.fixture(autouse=True)
def traces_once(once: Once, request: pytest.FixtureRequest) -> Iterator[None]:
    """Trace each network once, unless a test is marked as one that looks at the tracing itself."""
    with nullcontext() if request.node.get_closest_marker('traces') else graphs_once(once):
        yield


@pytest.fixture
def learn(data_root: Path, tmp_path: Path) -> Learn:
    """Train a PaDiM as the fixture ``deployed`` does, or another model as ``trained`` does.

    What is named differs from that.
    """

    def learn(
        settings: dict[str, Any] | None = None,
        progress: Any = None,
        tell: Any = None,
        **other: Any,
    ) -> Run:
        from adet_core.progress import silent
        from adet_training.quiet import quiet_libraries
        from adet_training.train import train, TrainConfig

        values: dict[str, Any] = {
            'model': 'padim',
            'category': CATEGORY,
            'data_root': data_root,
            'models_root': tmp_path / 'models',
            'backbone_weights': weights_of(other.get('model', 'padim')),
            'settings': {**tiny(other.get('model', 'padim')), **(settings or {})},
            'seed': 1,
        }
        with quiet_libraries(), quickly(other.get('model', 'padim')):
            return train(
                TrainConfig(**{**values, **other}), progress=progress or silent, tell=tell
            )

    return learn


@pytest.fixture
def own_data(data_root: Path, tmp_path: Path) -> Path:
    """A copy of the drawn data, for the test alone."""
    return shutil.copytree(data_root, tmp_path / 'data')


@pytest.fixture(scope='session')
def few_images(once: Once) -> Path:
    """A smaller drawn data set, for the slower models: 6 images to learn from, 3 + 3 to test."""
    from adet_synth import write_dataset

    counts = {'train': 6, 'test_normal': 3, 'test_anomaly': 3}
    return once(
        'few', lambda root: write_dataset(root, category=CATEGORY, **counts, size=128, seed=4)
    )


@pytest.fixture(scope='session')
def teacher_file(once: Once) -> Path:
    """A small teacher of EfficientAD that has learned nothing, which takes no time."""
    return once('teacher', lambda root: _write_teacher(root / 'teacher.pth')) / 'teacher.pth'


def _write_teacher(path: Path) -> Path:
    import torch

    from adet_training.distill import make_teacher

    torch.manual_seed(2)
    torch.save(make_teacher('small').state_dict(), path)
    return path


@pytest.fixture
def own_few(few_images: Path, tmp_path: Path) -> Path:
    """A copy of the smaller data, for the test alone."""
    return shutil.copytree(few_images, tmp_path / 'few')


@pytest.fixture(scope='session')
def trained(few_images: Path, once: Once) -> Train:
    """Trains, deploys and exports a model, once for all who ask for it; not to be written to.

    A backbone other than the default one has random weights; that of an EfficientAD may be
    ``pdn_small``, the network of its paper, whose student is not solved for and so has maps that
    are larger than what int8 rounds.
    """

    @functools.cache
    def get(model: str, backbone: str = '') -> Trained:
        import torch

        from adet_core.bundle import open_bundle
        from adet_core.models.names import model_folder
        from adet_training.train import Run

        make = functools.partial(_train, once, few_images, model, backbone)
        # Tests train the same again, and are measured.
        with unmeasured():
            root = once(f'trained_{model}_{backbone}', make)
        values = json.loads((root / 'run.json').read_text())
        (folder,) = (root / 'pc' / model_folder(model) / CATEGORY).iterdir()
        run = Run(folder, open_bundle(folder / 'pytorch'), **values)
        module = torch.load(root / 'module.pt', weights_only=False)
        return Trained(run, module, open_bundle(root / 'robot' / model_folder(model)))

    return get


def _train(once: Once, data_root: Path, model: str, backbone: str, root: Path) -> None:
    import torch

    from adet_core.bundle import copy_bundle
    from adet_core.models.names import model_folder
    from adet_training.export import export
    from adet_training.models import load_adapter
    from adet_training.quiet import quiet_libraries
    from adet_training.train import train, TrainConfig

    adapter = load_adapter(model)
    built, build = [], adapter.build
    settings = {'backbone': backbone} if backbone else {}
    if backbone == 'pdn_small':
        settings = {'teacher': str(_write_teacher(root / 'teacher.pth'))}
    config = TrainConfig(
        model=model,
        category=CATEGORY,
        data_root=data_root,
        models_root=root / 'pc',
        backbone_weights='random' if backbone else weights_of(model),
        settings={**tiny(model), **settings},
        seed=1,
    )
    with (
        quiet_libraries(),
        quickly(model),
        graphs_once(once),
        pytest.MonkeyPatch.context() as patch,
    ):
        through_graph(patch)
        patch.setattr(adapter, 'build', lambda *a: built.append(build(*a)) or built[-1])
        if backbone == 'pdn_small':
            unsolved = 'adet_training.efficientad.EfficientAdModule.solve_student'
            patch.setattr(unsolved, lambda *_: None)
        run = train(config)
        export(copy_bundle(run.bundle, root / 'robot' / model_folder(model)))
    values = {
        name: value
        for name, value in vars(run).items()
        if name not in ('folder', 'bundle', 'traced')
    }
    (root / 'run.json').write_text(json.dumps(values))
    built[-1].trainer = None
    torch.save(built[-1], root / 'module.pt')
