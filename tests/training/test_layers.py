# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The graph's own layers say the same as the libraries' operations that they stand for."""

from __future__ import annotations

from anomalib.models.components import GaussianBlur2d
import pytest
import torch
from torch.nn import functional
from torchvision.transforms.v2 import Normalize

from adet_training.layers import NormaliseImage, SmoothUpsample

pytestmark = pytest.mark.training


@pytest.mark.parametrize(
    ('source', 'target', 'sigma'),
    [
        ((16, 16), (64, 64), 4.0),
        ((64, 64), (256, 256), 4.0),
        ((17, 17), (65, 65), 4.0),
        ((8, 32), (64, 96), 4.0),
        ((28, 28), (224, 224), 4.0),
        ((1, 1), (64, 64), 4.0),
        ((10, 12), (40, 50), 1.5),
        ((64, 64), (64, 64), 4.0),
    ],
)
def test_smooth_upsampling_is_enlarging_and_then_blurring(
    source: tuple[int, int], target: tuple[int, int], sigma: float
) -> None:
    small = torch.rand(3, 1, *source, generator=torch.Generator().manual_seed(0)) * 100
    reach = int(4 * sigma + 0.5)
    blur = GaussianBlur2d(kernel_size=(2 * reach + 1,) * 2, sigma=(sigma, sigma), channels=1)
    enlarged = functional.interpolate(small, size=target, mode='bilinear', align_corners=False)

    answer = SmoothUpsample(source, target, sigma=sigma)(small)

    assert answer.shape == (3, 1, *target)
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, blur(enlarged), rtol=1e-5, atol=1e-4)


def test_a_flat_map_stays_flat_up_to_its_border() -> None:
    flat = torch.full((1, 1, 16, 16), 7.25)
    answer = SmoothUpsample((16, 16), (64, 64), sigma=4.0)(flat)
    torch.testing.assert_close(answer, torch.full((1, 1, 64, 64), 7.25), rtol=1e-6, atol=0)


def test_normalising_is_that_of_torchvision() -> None:
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8, generator=generator)
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    expected = Normalize(mean, std)(images.permute(0, 3, 1, 2).to(torch.float32) / 255)

    answer = NormaliseImage(mean, std)(images)

    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, expected, rtol=0, atol=1e-6)


def test_neither_layer_adds_tensors_to_a_file_of_weights() -> None:
    assert not NormaliseImage([0.5] * 3, [0.5] * 3).state_dict()
    assert not SmoothUpsample((4, 4), (64, 64), sigma=4.0).state_dict()
