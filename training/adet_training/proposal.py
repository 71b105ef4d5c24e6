# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which image size, proportions and tiles suit a category: plain numbers in, a table out.

A network sees a defect that covers some pixels of its input. How many of the image's pixels that
is depends on the scale alone, and the scale costs time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
import math
from typing import Any

from adet_core.geometry import BATCH

EXTENT = 8
"""Pixels of the graph's input that a defect has to cover in length to be seen; see
docs/small_defects.md for how this was measured."""

TINY = 16
"""Defects no longer than so many pixels of the graph's input ask for `Cost.for_tiny`; see the
figures for small defects in docs/benchmarks.md."""

PROCESS_MIB, WORK_MIB = 140.0, 28.0
"""Estimates of memory: a detector without statistics, and an input of 256 x 256 while it runs;
see the figures for growth in docs/benchmarks.md."""

OFF, SHIFT, TURN = 'off', 'shift', 'turn'
"""How parts lie: alike, shifted, in any direction; the values of the setting ``align``."""

_EDGE = 256
_PIXELS = _EDGE * _EDGE
# What an inspection takes for each pixel that tiles are cut from: pixels, weights of the tiles,
# the joined map and that of the image before, and regions; see docs/benchmarks.md "Small defects".
_MIB_OF_CANVAS = 30 / 2**20
_OVERLAP = 0.125
# Of the graph's input: strides of a network up to 32 leave no remainder.
_STEP = 32
# Images are stretched where their proportions differ from a square's by less.
_SQUARE = 1.25
# Share of the defects that may be smaller than those an option is chosen for.
_SMALLEST = 0.1
# How many times the usual pixels the finer input has; beyond it, tiles take less memory.
_FINER = 4
# Extents are rounded, and so is what an option shows.
_ROUNDED = 1.1


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a category before it is trained.

    Attributes:
        width: Of the images that are inspected, in pixels; of aligned ones where they are.
        height: The same.
        has_one_shape: Whether all images have these proportions.
        align: How the parts lie: `OFF`, `SHIFT` or `TURN`.
        defects: Extents of known defects, in pixels of the images; empty if none is known.
    """

    width: int
    height: int
    has_one_shape: bool = True
    align: str = OFF
    defects: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a model takes, estimated from one run.

    Attributes:
        ms: For one input of 256 x 256 pixels; 1 where it was not measured.
        mib: Whatever the size of the images.
        mib_of_input: For the statistics of one input of 256 x 256 pixels.
        mib_of_work: While one such input runs.
        edge: Usual edge of the graph's input, in pixels.
        least_edge: Least edge that the model takes.
        is_measured: Whether these are times and sizes; else they can only be compared.
        for_tiny: Hyper-parameters that suit a category whose defects are all `TINY`.
    """

    ms: float
    mib: float = 0.0
    mib_of_input: float = 0.0
    mib_of_work: float = 0.0
    edge: int = _EDGE
    least_edge: int = 64
    is_measured: bool = True
    for_tiny: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One way to bring the images to the graph.

    Attributes:
        name: For people.
        image_size: Width and height of the graph's input.
        tiles: Width of a tile in pixels of the image; 0: the whole image is one input.
        inputs: Inputs of the graph for one image.
        scale: Pixels of the graph's input across one pixel of the image, the lesser of both axes.
        ms: Estimated time of one image.
        mib: Estimated memory.
        is_measured: See `Cost`.
    """

    name: str
    image_size: tuple[int, int]
    tiles: int
    inputs: int
    scale: float
    ms: float
    mib: float
    is_measured: bool = True

    @property
    def least_defect(self) -> float:
        """Extent in the image's pixels from which a defect is likely to be seen."""
        return EXTENT / self.scale

    def settings(self) -> dict[str, Any]:
        """Hyper-parameters that ask for it."""
        width, height = self.image_size
        size: int | str = width if width == height else f'{width}x{height}'
        tiled = {'tiles': self.tiles, 'overlap': _OVERLAP} if self.tiles else {}
        return {'image_size': size, **tiled}


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What may be chosen, and what is proposed.

    Attributes:
        options: From the cheapest to the dearest.
        chosen: One of them.
        reason: Why that one.
        align: Value of the setting ``align``.
        others: Further hyper-parameters of the model.
    """

    options: tuple[Option, ...]
    chosen: Option
    reason: str
    align: str = OFF
    others: Mapping[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Hyper-parameters that take the proposal."""
        align = {} if self.align == OFF else {'align': self.align}
        return {**self.chosen.settings(), **align, **self.others}

    def lines(self) -> Iterator[str]:
        """A table for people, and why an option was chosen."""
        yield f'{"images as":28}{"graph":>10}{"inputs":>8}{"defects from":>14}{"about":>24}'
        for option in self.options:
            width, height = option.image_size
            about = f'{option.ms:.0f} ms, {option.mib:.0f} MiB'
            if not option.is_measured:
                about = f'{option.ms / self.options[0].ms:.1f} x the time'
            yield (
                f'{"->" if option is self.chosen else "":3}{option.name:25}'
                f'{f"{width}x{height}":>10}{option.inputs:>8}{option.least_defect:>11.0f} px'
                f'{about:>24}'
            )
        yield f'proposed: {self.reason}'
        words = ' '.join(f'--set {key}={value}' for key, value in self.settings().items())
        yield f'take it with --set tiles=auto, or {words}'


def propose(facts: Facts, cost: Cost) -> Proposal:
    """Choose the cheapest option that shows the smallest defects."""
    options = sorted(_options(facts, cost), key=lambda option: option.ms)
    plain = _plain(facts, options)
    others: Mapping[str, Any] = {}
    if facts.defects:
        smallest = _quantile(facts.defects, _SMALLEST)
        fine = [option for option in options if option.least_defect <= _ROUNDED * smallest]
        chosen = fine[0] if fine else min(options, key=lambda one: (one.least_defect, one.ms))
        reason = f'nine of ten known defects are at least {smallest:.0f} pixels long'
        longest = _quantile(facts.defects, 1 - _SMALLEST)
        if cost.for_tiny and longest * chosen.scale <= TINY:
            others = cost.for_tiny
            words = ' and '.join(f'{key}={value}' for key, value in others.items())
            reason += f', and at most {longest:.0f}, which {words} suits'
        if not fine:
            reason += '; no option shows the smallest of them for sure'
    else:
        chosen = plain
        reason = 'no defect is known by a mask; choose a finer one if yours are smaller than this'
    if facts.align != OFF:
        how = 'in any direction' if facts.align == TURN else 'in different places'
        reason += f'; parts lie {how}, so they are aligned first'
    return Proposal(
        options=tuple(options), chosen=chosen, reason=reason, align=facts.align, others=others
    )


def _plain(facts: Facts, options: Sequence[Option]) -> Option:
    """The choice where no defect is known: the usual number of pixels, and no distortion."""
    is_shown_truly = facts.align != OFF or _is_long(facts)
    wanted = ('true proportions', 'stretched') if is_shown_truly else ('stretched',)
    by_name = {option.name: option for option in options}
    return next(by_name[name] for name in wanted if name in by_name)


def _options(facts: Facts, cost: Cost) -> Iterator[Option]:
    edge = cost.edge
    yield _option('stretched', facts, cost, (edge, edge))
    if not facts.has_one_shape:
        yield _option('stretched, finer', facts, cost, (2 * edge, 2 * edge))
        return
    seen = {(edge, edge)}
    for name, factor in (('true proportions', 1), ('true proportions, finer', _FINER)):
        size = _true_size(facts, factor * edge * edge, cost.least_edge)
        if size not in seen:
            seen.add(size)
            yield _option(name, facts, cost, size)
    for name, tiles in (('tiles at half scale', 2 * edge), ('tiles at full scale', edge)):
        if tiles <= min(facts.width, facts.height) and tiles < max(facts.width, facts.height):
            yield _option(name, facts, cost, (edge, edge), tiles=tiles)


def _option(
    name: str, facts: Facts, cost: Cost, size: tuple[int, int], *, tiles: int = 0
) -> Option:
    inputs = 1
    scale = min(size[0] / facts.width, size[1] / facts.height)
    if tiles:
        scale = size[0] / tiles
        inputs = math.prod(_count(edge, tiles) for edge in (facts.width, facts.height))
    share = size[0] * size[1] / _PIXELS
    # ONNX Runtime keeps what the first input took, which came alone, beside what a batch takes.
    together = 1 + BATCH if inputs > 1 else 1
    of_canvas = facts.width * facts.height * scale**2 * _MIB_OF_CANVAS if tiles else 0.0
    return Option(
        name=name,
        image_size=size,
        tiles=tiles,
        inputs=inputs,
        scale=scale,
        ms=cost.ms * share * inputs,
        mib=cost.mib + (cost.mib_of_input + cost.mib_of_work * together) * share + of_canvas,
        is_measured=cost.is_measured,
    )


def _count(length: int, tile: int) -> int:
    """Tiles along an edge, see `adet_core.geometry.grid`."""
    return 1 + math.ceil((length - tile) / (tile * (1 - _OVERLAP)) - 1e-6)


def _true_size(facts: Facts, pixels: int, least: int) -> tuple[int, int]:
    """Width and height with the image's proportions; not larger than the image without need."""
    shortest = min(facts.width, facts.height)
    scale = min(math.sqrt(pixels / (facts.width * facts.height)), 1.0)
    scale = max(scale, least / shortest)
    width, height = (
        max(round(edge * scale / _STEP) * _STEP, least) for edge in (facts.width, facts.height)
    )
    return width, height


def _is_long(facts: Facts) -> bool:
    long, short = max(facts.width, facts.height), min(facts.width, facts.height)
    return facts.has_one_shape and long > _SQUARE * short


def _quantile(values: Sequence[float], share: float) -> float:
    ranked = sorted(values)
    return ranked[min(int(share * len(ranked)), len(ranked) - 1)]
