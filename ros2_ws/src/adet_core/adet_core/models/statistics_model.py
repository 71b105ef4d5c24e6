# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What the runtime has to know of a model that is relearned by its statistics.

Statistics are the arrays that a model learned and that its graph takes as inputs: a retraining
replaces them without a new graph. A model without statistics has weights alone, and the runtime
knows nothing of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback

Floats = npt.NDArray[np.float32]
Statistics = Mapping[str, Floats]


class Setting(NamedTuple):
    """A number that a retraining goes by.

    Attributes:
        default: An int allows whole numbers only.
        minimum: Smallest value.
        maximum: Largest value.
        is_fixed: The graph was exported with it, so a retraining cannot change it.
        is_inherited: The value of the training is the default, if there is one.
    """

    default: float
    minimum: float
    maximum: float
    is_fixed: bool = False
    is_inherited: bool = True


class Learner(Protocol):
    """Collects the features of images and makes statistics of them."""

    @property
    def images(self) -> int:
        """How many images are behind the statistics; one with a weight counts several times."""

    def add(self, features: Floats, are_marked: Sequence[bool]) -> None:
        """Learn from images.

        Args:
            features: float32 ``(B, ...)``, as the model's feature graph gives them.
            are_marked: For each image, whether an operator marked it as normal.
        """

    def statistics(self, progress: ProgressCallback) -> dict[str, Floats]:
        """Make the statistics, float32, by name.

        Raises:
            ConfigError: The images are too few.
        """


class StatisticsModel(ABC):
    """One model that is relearned by its statistics.

    Attributes:
        file: The file of the bundle that holds the statistics.
        settings: What a retraining of this model goes by, beside the settings of all models.
    """

    file: ClassVar[str]
    settings: ClassVar[Mapping[str, Setting]]

    @abstractmethod
    def learner(self, settings: Mapping[str, Any], old: Statistics, images: int) -> Learner:
        """Begin to learn.

        Args:
            settings: Values by name, see `adet_core.retraining.settings`.
            old: Statistics to go on from; empty to begin anew.
            images: How many images are behind ``old``.
        """

    @abstractmethod
    def predict(
        self,
        features: Floats,
        statistics: Statistics,
        settings: Mapping[str, Any],
        size: tuple[int, int],
    ) -> Prediction:
        """Predict in plain numpy what the graph has to predict.

        New statistics go into service only if the graph agrees with this.

        Args:
            features: float32 ``(N, ...)``, as the model's feature graph gives them.
            statistics: By name.
            settings: As for `learner`.
            size: Rows and columns of the anomaly maps.
        """


class StatisticsTransform(ABC):
    """Turns a bundle's statistics into the inputs of a graph, once, when they are bound."""

    @property
    @abstractmethod
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of each of the statistics by name; None is a free length."""

    @abstractmethod
    def __call__(self, statistics: Statistics) -> dict[str, Floats]:
        """Make the graph's inputs, float32 and contiguous, by name.

        Args:
            statistics: Float32 of the names and shapes in `shapes`.

        Raises:
            ValueError: The statistics cannot be transformed.
        """


class NamedTransform(StatisticsTransform):
    """A transform that ``engine/model.json`` describes.

    Attributes:
        name: Of the transform.
    """

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def load(cls, parameters: Mapping[str, Any], constants: Statistics) -> NamedTransform:
        """The transform of an exported graph.

        Args:
            parameters: As the property `parameters` gave them.
            constants: As the property `constants` gave them.

        Raises:
            ValueError: They are not those of this transform.
        """

    @property
    def parameters(self) -> dict[str, Any]:
        """Values that JSON can hold, by name."""
        return {}

    @property
    def constants(self) -> dict[str, Floats]:
        """Arrays that the graph needs, too, and holds as initializers."""
        return {}

    @property
    @abstractmethod
    def inputs(self) -> list[str]:
        """Names of the graph's inputs that it makes, in their order."""
