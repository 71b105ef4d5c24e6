# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Trainings of two real processes on gloo: what they learn, and what becomes of them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import pickle
import signal
from typing import Any

import numpy as np
from once import Once
import pytest
import torch

from adet_core.bundle import Bundle, open_bundle
from adet_core.errors import AdetError, ConfigError
from adet_training import processes
from adet_training.launch import find_devices, run_together
from adet_training.processes import Devices, InOrder

TWO = Devices(devices=2)


def train_all(asked: tuple[Path, Path]) -> tuple[dict[str, Path], Any]:
    """Train several models in each process, one after the other; the bundles of the first.

    Also what `exchange` gives.
    """
    from adet_core.progress import silent
    from adet_training.cli import train as command
    from adet_training.quiet import quiet_libraries
    from adet_training.train import take_part, train, TrainConfig

    torch.set_num_threads(1)
    data_root, models_root = asked
    exchanged = exchange()
    # As `adet train` does it.
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = f'--model padim --category plate --data-root {data_root} --models-root {models_root}'
    arguments = parser.parse_args([*words.split(), '--backbone-weights=random'])
    result = command._train((arguments, PADIM))
    assert bool(result) == (processes.rank() == 0)
    bundles = {'padim': Path(result['bundle_dir'])} if result else {}
    with quiet_libraries():
        for model, settings in OTHERS.items():
            config = TrainConfig(
                model=model,
                category='plate',
                data_root=data_root,
                models_root=models_root,
                backbone_weights='random',
                settings=settings,
            )
            if processes.rank():
                take_part(config)
            else:
                bundles[model] = train(config, progress=silent).bundle.folder
    return bundles, exchanged


# Blocks of three or four files, of which some are held out.
PADIM = {'image_size': 64, 'n_features': 20, 'batch_size': 3, 'threshold': 'normal'}
OTHERS: dict[str, dict[str, Any]] = {
    'patchcore': {'image_size': 64, 'batch_size': 4, 'max_bank': 200},
    'vae': {'image_size': 64, 'steps': 4, 'batch_size': 2, 'width': 8},
}


def exchange() -> list[np.ndarray]:
    """Batches of one image whose features are its number: blocks 0 to 4, and 2 is empty."""
    mine = [block for block in (0, 1, 3, 4) if processes.is_mine(block)]
    in_order = InOrder(mine, processes.by_position)
    found = [
        part
        for block in mine
        for part in in_order.add(
            np.full((1, 3, 5), 10 * block, np.float32) + np.arange(5, dtype=np.float32)
        )
    ]
    return processes.in_first(np.concatenate([*found, *in_order.rest()]))


@pytest.fixture(scope='module')
def both(data_root: Path, once: Once) -> tuple[Any, Any]:
    """What one process learns, and what two do."""

    def make(root: Path) -> None:
        one = train_all((data_root, root / 'one'))
        two = run_together(train_all, (data_root, root / 'two'), TWO)
        (root / 'found.pickle').write_bytes(pickle.dumps((one, two)))

    found = pickle.loads((once('processes', make) / 'found.pickle').read_bytes())
    return found[0], found[1]


def _facts(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        'threshold': manifest.image_threshold,
        'pixel_threshold': manifest.pixel_threshold,
        'range': manifest.score_range,
        'dataset': manifest.dataset,
        'metrics': manifest.metrics,
        'parameters': manifest.hyper_parameters,
    }


@pytest.mark.parametrize('model', ['padim', 'patchcore'])
def test_two_processes_learn_the_same_to_the_last_bit(both: tuple[Any, Any], model: str) -> None:
    one, two = (open_bundle(bundles[model]) for bundles, _ in both)
    names = {path.name for path in one.folder.iterdir() if path.suffix in {'.npz', '.json'}}
    assert {'normals.npz', 'golden.npz'} < names
    for name in names - {'meta.json'}:
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes(), name
    weights = [torch.load(b.folder / 'model.pth', weights_only=True) for b in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert _facts(one) == _facts(two)
    # And nothing came of the other process.
    assert len(list(two.folder.parents[1].iterdir())) == 1


def test_what_learns_by_steps_sees_all_images_and_ends_in_one_bundle(
    both: tuple[Any, Any],
) -> None:
    one, two = (open_bundle(bundles['vae']) for bundles, _ in both)
    weights = [torch.load(b.folder / 'model.pth', weights_only=True) for b in (one, two)]
    # Of the images of both processes: the pixels' mean does not know who read them.
    torch.testing.assert_close(weights[0]['mean_image'], weights[1]['mean_image'])
    assert not torch.equal(weights[0]['error_mean'], weights[1]['error_mean'])
    assert one.manifest.dataset == two.manifest.dataset
    steps = (two.folder.parent / 'logs' / 'metrics.csv').read_text().splitlines()
    assert len(steps) == 1 + 4
    assert (two.folder.parent / 'checkpoint' / 'best.ckpt').is_file()


def test_batches_come_in_the_order_of_their_blocks(both: tuple[Any, Any]) -> None:
    (alone,), parts = (exchanged for _, exchanged in both)
    assert [part.shape[2] for part in parts] == [3, 2]
    np.testing.assert_array_equal(np.concatenate(parts, axis=2), alone)
    np.testing.assert_array_equal(alone[:, 0, 0], [0, 10, 30, 40])


def die(how: str) -> None:
    """The second process ends in some way while the first one waits for it."""
    processes.collect(0)
    if processes.rank() and how == 'killed':
        os.kill(os.getpid(), signal.SIGKILL)
    if processes.rank() and how == 'error':
        raise ConfigError('this image is too large')
    processes.collect(1)


@pytest.mark.parametrize(
    ('how', 'line'),
    [
        ('killed', 'process 2 of 2 of this training was killed by SIGKILL; perhaps there is not'),
        ('error', '^this image is too large$'),
    ],
)
def test_a_process_that_ends_ends_the_training_in_one_line(
    how: str, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AdetError, match=line):
        run_together(die, how, TWO)
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize(
    ('asked', 'environment', 'line'),
    [
        ((0, None, '', 'auto'), {}, 'devices is 0, expected 1 or more'),
        ((1, 0, '', 'auto'), {}, 'num_nodes is 0, expected 1 or more'),
        ((2, None, 'dpd', 'auto'), {}, "strategy is 'dpd', expected one of .*ddp, "),
        ((2, None, 'ddp_spawn', 'auto'), {}, "strategy is 'ddp_spawn', expected one of"),
        ((None, None, 'ddp', 'auto'), {}, "strategy is 'ddp', expected none for one process"),
        ((2, None, '', 'gpu'), {}, 'torch finds no GPU here; take --accelerator cpu'),
        ((1, 2, '', 'auto'), {}, r'num_nodes is 2: start adet on each .* torchrun --nnodes N'),
        ((2, 1, '', 'auto'), {'LOCAL_WORLD_SIZE': '1', 'WORLD_SIZE': '2'}, 'torchrun started 2'),
    ],
)
def test_devices_that_are_not_there_are_refused_in_one_line(
    asked: Any, environment: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ConfigError, match=line) as caught:
        find_devices(*asked, environment=environment)
    assert '\n' not in str(caught.value)


def test_more_devices_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    with pytest.raises(ConfigError, match='devices is 2, but this machine has 1 GPU'):
        find_devices(2, None, '', 'auto', {})
    assert find_devices(2, None, '', 'cpu', {}) == Devices(2, 1, '', 'cpu')


def test_what_torchrun_started_is_taken() -> None:
    environment = {'LOCAL_WORLD_SIZE': '2', 'WORLD_SIZE': '6'}
    assert find_devices(None, None, 'ddp', 'cpu', environment) == Devices(2, 3, 'ddp', 'cpu')


@pytest.mark.parametrize(
    ('together', 'strategy', 'line'),
    [
        # As Anomalib's models that have none of their own way.
        ('', '', 'padim learns in one pass that Anomalib keeps to one process'),
        ('merged', 'ddp', "strategy is 'ddp', expected none for padim, which does not train by"),
    ],
)
def test_what_a_model_cannot_do_together_is_refused(
    data_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    together: str,
    strategy: str,
    line: str,
) -> None:
    from adet_training.models import load_adapter
    from adet_training.train import train, TrainConfig

    monkeypatch.setattr(processes, 'count', lambda: 2)
    monkeypatch.setattr(processes, '_devices', Devices(2, strategy=strategy))
    monkeypatch.setattr(load_adapter('padim'), 'together', together)
    config = TrainConfig(
        model='padim',
        category='plate',
        data_root=data_root,
        models_root=tmp_path,
        backbone_weights='random',
        settings={},
    )
    with pytest.raises(ConfigError, match=line):
        train(config)
