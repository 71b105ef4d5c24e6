# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The pretrained networks that a model of Anomalib asks timm and torchvision for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import timm
from torch import nn
import torchvision
from torchvision.models import WeightsEnum

Make = Callable[[bool], nn.Module]
"""Makes a network, with the weights that its library downloads if it is called with True."""

Supply = Callable[[str, Make], nn.Module]
"""Makes a network of a name; its weights are what the caller of `pretrained_networks` wants."""


@contextmanager
def pretrained_networks(supply: Supply) -> Iterator[None]:
    """Ask ``supply`` for every network that is to be made with pretrained weights.

    Args:
        supply: Called with timm's or torchvision's name of each, in order.
    """
    make_timm, read_weights = timm.create_model, WeightsEnum.get_state_dict

    def create(model_name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        def make(wanted: bool) -> nn.Module:
            return make_timm(model_name, pretrained=wanted, **options)

        return supply(model_name, make) if pretrained else make(False)

    def state(weights: Any, *args: Any, **options: Any) -> Any:
        name = _torchvision_name(weights)

        def make(wanted: bool) -> nn.Module:
            network: nn.Module = torchvision.models.get_model(name, weights=None)
            if wanted:
                network.load_state_dict(read_weights(weights, *args, **options))
            return network

        return supply(name, make).state_dict()

    timm.create_model, WeightsEnum.get_state_dict = create, state
    try:
        yield
    finally:
        timm.create_model, WeightsEnum.get_state_dict = make_timm, read_weights


def no_weights(name: str, make: Make) -> nn.Module:  # noqa: ARG001 - it is a Supply
    """A network whose weights are loaded later."""
    return make(False)


def _torchvision_name(weights: Any) -> str:
    return next(
        name
        for name in torchvision.models.list_models()
        if torchvision.models.get_model_weights(name) is type(weights)
    )
