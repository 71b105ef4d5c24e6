# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A backbone at several times its speed while a model learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adet_core.io.labelled import LabelledImage
from adet_core.progress import silent
from adet_training import quick_backbone
from adet_training.adapter import FitData
from adet_training.models.padim import ADAPTER, PadimParameters

pytestmark = pytest.mark.training

SIZE = (64, 64)
PARAMETERS = PadimParameters(image_size=64, n_features=24, batch_size=3)


def build() -> Any:
    """A PaDiM that has learned nothing."""
    torch.manual_seed(0)
    return ADAPTER.build(PARAMETERS, ADAPTER.backbone(PARAMETERS, 'auto', seed=0))


def learn(module: Any, folder: Path) -> dict[str, np.ndarray]:
    """What it learns from noise, in batches of which the last one is smaller."""
    random = np.random.default_rng(0)
    images = [
        LabelledImage(Path(f'{n}.png'), random.integers(0, 256, (*SIZE, 3), np.uint8))
        for n in range(8)
    ]
    ADAPTER.fit(module, FitData(images), folder, PARAMETERS, silent)
    return ADAPTER.statistics(module)


@pytest.mark.parametrize(
    ('piece', 'pieces'),
    [(256**2, [2, 3, 3, 2]), (2 * 64**2, [2, 2, 1, 2, 1, 2]), (1, [2] + 8 * [1])],
)
def test_a_model_learns_the_same_with_it(
    piece: int, pieces: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = learn(build(), tmp_path / 'as it is')
    shown: list[torch.Tensor] = []
    original = quick_backbone._channels_last

    def channels_last(images: torch.Tensor) -> torch.Tensor:
        shown.append(images)
        return original(images)

    monkeypatch.setattr(quick_backbone, '_WORTH_IT', 1)
    monkeypatch.setattr(quick_backbone, '_PIECE', piece)
    monkeypatch.setattr(quick_backbone, '_channels_last', channels_last)
    module = build()
    names = list(module.state_dict())
    found = learn(module, tmp_path / 'quick')
    # The first is an example; then the images, each batch in pieces.
    assert [len(images) for images in shown] == pieces
    for name, one in expected.items():
        np.testing.assert_allclose(found[name], one, rtol=1e-3, atol=1e-3 * np.abs(one).max())
    # Checkpoints find every tensor, and the module itself predicts.
    assert list(module.state_dict()) == names
    saved = torch.load(tmp_path / 'quick' / 'checkpoint' / 'best.ckpt', weights_only=True)
    assert 'model.feature_extractor.feature_extractor.conv_stem.weight' in saved['state_dict']
    assert 'forward' not in vars(module.model.feature_extractor)


@pytest.mark.parametrize('size', [(64, 64), (200, 96), (100, 136), (64, 792)])
def test_padim_learns_from_anomalibs_features(size: tuple[int, int]) -> None:
    module = build()
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    module.model.train()
    module.model.feature_extractor.eval()
    expected = module.model(images).flatten(2)
    assert torch.equal(module._features(images), expected)


def test_few_images_and_what_gives_other_features_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extractor = build().model.feature_extractor
    with quick_backbone.quick_backbone(extractor, SIZE, 3):
        assert 'forward' not in vars(extractor)

    def wrong(images: torch.Tensor) -> list[torch.Tensor]:
        return [1.001 * one for one in extractor(images).values()]

    monkeypatch.setattr(quick_backbone, '_WORTH_IT', 1)
    monkeypatch.setattr(quick_backbone, '_fold', lambda *_: wrong)
    with quick_backbone.quick_backbone(extractor, SIZE, 3):
        assert 'forward' not in vars(extractor)
