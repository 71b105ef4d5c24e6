# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The result of relearning a model, and how the training package is found for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import cast

from adet_core.bundle import Content
from adet_core.errors import ConfigError
from adet_core.geometry import Runs
from adet_core.image import ImageArray
from adet_core.inference.backend import Backend
from adet_core.prediction import Prediction

_GROUP = 'adet.retrain'


@dataclass(frozen=True, kw_only=True)
class Relearned:
    """A new set that is not in service yet.

    Attributes:
        contents: The files that replace files of the bundle, and what writes each of them.
        backend: Runs its graph with what was learned; that of the first input of an image, where
            each has its own.
        runs: Predict the inputs of an image with what was learned.
        predict: The new model's own prediction of one input of the graph, without the graph.
        images: How many images are behind the model.
    """

    contents: Mapping[str, Content]
    backend: Backend
    runs: Runs
    predict: Callable[[ImageArray], Prediction]
    images: int


def fine_tuner(model: str) -> Callable[..., Relearned]:
    """The function of the training package that retrains the weights of a model.

    Raises:
        ConfigError: It is not installed.
    """
    for entry in entry_points(group=_GROUP):
        try:
            return cast('Callable[..., Relearned]', entry.load())
        except ModuleNotFoundError as error:
            missing = f' ({error})'
            break
    else:
        missing = ''
    msg = f'retraining {model} changes its weights, which needs the training package{missing}'
    raise ConfigError(f'{msg}: pip install ./ros2_ws/src/adet_core ./training')
