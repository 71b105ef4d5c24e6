# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Hyper-parameters: what ``--set KEY=VALUE`` takes, checked and typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
import re
from typing import Annotated, Any, get_type_hints, TypeVar

import yaml

from adet_core.errors import ConfigError, did_you_mean
from adet_core.folder import open_regular
from adet_core.geometry import FITS
from adet_core.objectives import OBJECTIVES
from adet_training.hold_out import HELD_OUT_BY
from adet_training.limits import (
    above,
    Allowed,
    at_least,
    check,
    edges,
    edges_of,
    limits_of,
    one_of,
    Share,
    SIZE,
    within,
)

_LARGEST_FILE = 1 << 20
# What PyYAML fails with: an impossible date is a ValueError, deep nesting a RecursionError.
_NO_YAML = (yaml.YAMLError, ValueError, RecursionError)

ALIGN = ('off', 'shift', 'turn')

SOURCES = ('auto', 'labelled', 'normal')

_RESNET_LAYERS = ('layer1', 'layer2', 'layer3')
BACKBONES = {
    'tf_efficientnet_lite0': ('blocks.1', 'blocks.2', 'blocks.4'),
    'resnet18': _RESNET_LAYERS,
    'wide_resnet50_2': _RESNET_LAYERS,
}
"""Networks that models begin with, the default first, and their layers at strides 4, 8, 16."""

DEFAULT_BACKBONE = next(iter(BACKBONES))


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


_TILES = Allowed('0, or 32 to 65536', lambda tiles: tiles == 0 or 32 <= tiles <= 65536)
_PATTERN = Allowed('a regular expression', _is_pattern)
_BAND = Allowed('0, or between 0 and 1', lambda rate: 0 <= rate < 1)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What every model has.

    Attributes:
        image_size: Size of the graph's input in pixels: the edge of a square, or WIDTHxHEIGHT.
        fit: How images get that size: ``stretch`` scales each axis by itself, ``letterbox`` scales
            both alike and fills the rest, ``crop`` cuts off what is too much.
        tiles: Width of the tiles that images are cut into, in their pixels; each is brought to
            ``image_size``, whose proportions it has. 0: the whole image is one input.
        overlap: Share of a tile's edge that neighbours have in common.
        whole: Whether the whole image is inspected, too, on a coarser scale than the tiles.
        align: How images are brought to lie alike first: ``off``, ``shift`` (they are shifted,
            and turned by a few degrees at most) or ``turn`` (in any direction, on a plain ground).
            What is inspected is then the part and a margin around it.
        light: Whether a gain brings each image to the usual brightness of the normal images.
        batch_size: Images per step while features are computed.
        threshold: Where the thresholds come from: ``labelled`` (the test images, and normal images
            that were kept back), ``normal`` (normal images kept back from fitting) or ``auto``
            (the first where the test data has both classes, else the second).
        held_out: Share of the normal images that ``normal`` keeps back.
        held_out_by: Which images these are: ``random``, or ``last`` in file order.
        group_by: What images have in common that must not be split: ``folder``, or a regular
            expression that is searched in the file name. Empty: nothing.
        robust: Whether the thresholds hold under changes of light and lens, too: brightness
            +-15 %, blur of 1 pixel, a shift of 3 pixels, JPEG quality 60. Each normal image then
            counts with the highest of its scores, which costs recall.
        objective: What the thresholds achieve: ``false_reject_rate``, ``recall``, ``cost`` or
            ``f1``; all but the first need labelled test images.
        false_reject_rate: Share of good parts that may be rejected.
        target_recall: Share of anomalies that ``recall`` catches.
        cost_miss: Cost of an anomaly that passes, for ``cost``.
        cost_reject: Cost of a good part that is rejected, for ``cost``.
        confidence: How sure the stated bound of ``false_reject_rate`` is.
        uncertain_rate: Share of good parts that may be called uncertain instead of good: it sets
            the lower end of a band below the threshold. 0 is no band.
    """

    image_size: Annotated[int | str, edges('64 to 2048', lambda edge: 64 <= edge <= 2048)] = 256
    fit: Annotated[str, one_of(FITS)] = 'stretch'
    tiles: Annotated[int, _TILES] = 0
    overlap: Annotated[float, within(0, 0.75)] = 0.125
    whole: bool = False
    align: Annotated[str, one_of(ALIGN)] = 'off'
    light: bool = False
    batch_size: Annotated[int, within(1, 1024)] = 16
    threshold: Annotated[str, one_of(SOURCES)] = 'auto'
    held_out: Share = 0.2
    held_out_by: Annotated[str, one_of(HELD_OUT_BY)] = 'random'
    group_by: Annotated[str, _PATTERN] = ''
    robust: bool = False
    objective: Annotated[str, one_of(OBJECTIVES)] = 'false_reject_rate'
    false_reject_rate: Share = 0.01
    target_recall: Share = 0.95
    cost_miss: Annotated[float, above(0)] = 50.0
    cost_reject: Annotated[float, above(0)] = 1.0
    confidence: Share = 0.95
    uncertain_rate: Annotated[float, _BAND] = 0.0

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: A value is out of range; names it.
        """
        for name, allowed in limits_of(type(self)).items():
            value = getattr(self, name)
            check(allowed.holds(value), name, value, allowed.text)
        tiled = self.tiles > 0 or not self.whole
        check(tiled, 'whole', self.whole, 'false without tiles: then the whole image is the input')
        if self.threshold == 'normal':
            only = f'{OBJECTIVES[0]}, as threshold=normal takes no labels'
            check(self.objective == OBJECTIVES[0], 'objective', self.objective, only)

    @property
    def own_statistics(self) -> bool:
        """Whether each tile has statistics of its own; else they learn together."""
        return False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the graph's input, in pixels.

        Raises:
            ConfigError: ``image_size`` is neither a number nor WIDTHxHEIGHT.
        """
        return edges_of(self.image_size)


@dataclass(frozen=True, kw_only=True)
class SteppedParameters(Parameters):
    """What every model has that learns by gradients.

    Attributes:
        steps: Optimisation steps, of ``batch_size`` images each.
        max_minutes: Time for the steps, as ``--max-time``; 0: no limit. On a GPU or a busy machine
            the same time is another number of steps.
    """

    steps: Annotated[int, at_least(1)] = 1000
    max_minutes: Annotated[float, at_least(0)] = 0.0


P = TypeVar('P', bound=Parameters)

WORDS = {
    int: 'a whole number',
    float: 'a number',
    bool: 'true or false',
    str: 'text',
    int | str: 'a whole number or text',
    tuple[str, ...]: 'names separated by commas',
    # Of a model of Anomalib, which checks it itself.
    Any: 'YAML',
}
"""The types of hyper-parameters, for people."""


def fill_backbone(parameters: Any, *, first: int = 0) -> None:
    """Name the ``backbone`` and the ``layers`` of hyper-parameters that leave them empty.

    Args:
        parameters: A dataclass with both fields. Layers alone name the first of `BACKBONES` that
            has one of them.
        first: How many of the backbone's finest layers are left out.
    """
    layers = parameters.layers
    if not parameters.backbone:
        having = (name for name, known in BACKBONES.items() if set(layers) & set(known))
        object.__setattr__(parameters, 'backbone', next(having, DEFAULT_BACKBONE))
    if not layers:
        object.__setattr__(parameters, 'layers', usual_layers(parameters.backbone)[first:])


def usual_layers(backbone: str) -> tuple[str, ...]:
    """The layers of a backbone at strides 4, 8 and 16."""
    return BACKBONES.get(backbone, _RESNET_LAYERS)


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` words; values are YAML scalars or lists.

    Raises:
        ConfigError: A word is not of that form.
    """
    values = {}
    for word in settings:
        key, separator, text = word.partition('=')
        if not separator or not key:
            msg = f'--set takes KEY=VALUE, got {word!r}'
            raise ConfigError(msg)
        try:
            values[key] = yaml.safe_load(text)
        except _NO_YAML:
            msg = f'--set {key}: {text!r} is not a value; quote it'
            raise ConfigError(msg) from None
    return values


def read_yaml(path: Path, missing: str) -> Any:
    """What a YAML file holds.

    Args:
        path: The file.
        missing: What to say if there is none.

    Raises:
        ConfigError: It cannot be read, or is no YAML.
    """
    try:
        with open_regular(path) as file:
            data = file.read(_LARGEST_FILE)
    except FileNotFoundError:
        raise ConfigError(f'{path}: {missing}') from None
    except OSError as error:
        raise ConfigError(f'{path}: {error.strerror}') from None
    try:
        return yaml.safe_load(data)
    except _NO_YAML as error:
        msg = f'{path}: not YAML ({str(error).splitlines()[0]})'
        raise ConfigError(msg) from None


def read_settings(path: Path) -> dict[str, Any]:
    """Read hyper-parameters from a YAML file, as ``param/best_params.yaml`` holds them.

    Raises:
        ConfigError: The file is missing, or is no mapping.
    """
    values = read_yaml(path, 'no such file of hyper-parameters')
    if not isinstance(values, dict):
        msg = f'{path}: expected a mapping of hyper-parameters to values'
        raise ConfigError(msg)
    return values


def plain(parameters: Parameters) -> dict[str, Any]:
    """Hyper-parameters as YAML and JSON can hold them."""
    values = asdict(parameters)
    return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}


def make_parameters(kind: type[P], values: Mapping[str, Any]) -> P:
    """Build the parameters of a model.

    Raises:
        ConfigError: A key is unknown (the message lists the known ones), or a value is of the
            wrong type or out of range.
    """
    hints, limits = get_type_hints(kind), limits_of(kind)
    known = [field.name for field in fields(kind)]
    for key in values:
        if key not in known:
            msg = f'unknown hyper-parameter {key!r}; known: {", ".join(sorted(known))}'
            raise ConfigError(msg + did_you_mean(key, known))
    return kind(
        **{key: _typed(key, hints[key], value, limits.get(key)) for key, value in values.items()}
    )


def _typed(key: str, hint: Any, value: Any, limit: Allowed | None) -> Any:
    if hint is Any:
        # Of a model of Anomalib, which checks it itself.
        return value
    if hint == tuple[str, ...]:
        names = value.split(',') if isinstance(value, str) else value
        check(_is_names(names), key, value, 'different names separated by commas')
        return tuple(name.strip() for name in names)
    if hint == int | str:
        fits = isinstance(value, int | str) and not isinstance(value, bool)
        check(fits, key, value, SIZE)
        return value
    if hint is float:
        value = _float(value)
    fits = isinstance(value, hint) and isinstance(value, bool) == (hint is bool)
    check(fits, key, value, WORDS[hint] + (f', {limit.text}' if limit else ''))
    return value


def _float(value: Any) -> Any:
    # To YAML, 1e-3 is a word: it wants 1.0e-3.
    if isinstance(value, str | int) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            return value
    return value


def _is_names(names: Any) -> bool:
    words = isinstance(names, list) and all(isinstance(n, str) and n.strip() for n in names)
    return words and 0 < len(names) == len({name.strip() for name in names})
