# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Every model, small enough to be trained in a second or two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import struct
from typing import Any, NamedTuple, TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from adet_core.bundle import Bundle
    from adet_training.train import Run

# A model that is not named here has the size alone.
_SETTINGS: dict[str, dict[str, Any]] = {
    'padim': {'n_features': 24},
    'vae': {'width': 4, 'latent': 8, 'steps': 40},
    'reverse_distillation': {'steps': 2},
    'efficientad': {
        'image_size': 256,
        'steps': 2,
        'teacher': 'backbone',
        'natural_images': 'drawn',
    },
}


def tiny(model: str) -> dict[str, Any]:
    """Hyper-parameters of a model for a training that is over soon."""
    return {'image_size': 64, **_SETTINGS.get(model, {})}


@contextmanager
def quickly(model: str) -> Iterator[None]:
    """Let an EfficientAD look at a third of the made-up defects, and solve from fewer pieces."""
    with pytest.MonkeyPatch.context() as patch:
        if model == 'efficientad':
            patch.setattr('adet_core.made_up.PER_STRENGTH', 1)
            patch.setattr('adet_training.efficientad._SOLVED', 8)
        yield


def through_graph(patch: pytest.MonkeyPatch) -> None:
    """Let a training predict with the graph that its export needs anyway, however few images."""
    patch.setattr('adet_training.predictor._WORTH_A_GRAPH', 0)


def weights_of(model: str) -> str:
    """Backbone weights that need no download."""
    return 'random' if model == 'reverse_distillation' else 'auto'


class Trained(NamedTuple):
    """A model, and the module it was before it became a bundle.

    Attributes:
        run: The training.
        module: The Lightning module as the training left it.
        robot: Its bundle as a robot has it, with its engine.
    """

    run: Run
    module: Any
    robot: Bundle


Learn = Callable[..., 'Run']
Train = Callable[[str], Trained]


def held_upright(jpeg: bytes) -> bytes:
    """The same JPEG, as of a camera that was turned by a quarter: EXIF says so."""
    entry = struct.pack('>HHIHH', 0x0112, 3, 1, 6, 0)
    tiff = b'MM\x00*' + struct.pack('>IH', 8, 1) + entry + struct.pack('>I', 0)
    body = b'Exif\x00\x00' + tiff
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(body) + 2) + body + jpeg[2:]
