# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What `gpu` found: tables for people, and which aims it meets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Figures = Mapping[str, Mapping[str, Any]]
"""By step, what it has found."""

MODELS = ('padim', 'patchcore', 'vae', 'efficientad')
"""Those with aims."""

GPU_LOCK = 'gpu.lock'
"""What uses the GPU beside the benchmark locks this file, see ``flock --shared``."""

# Milliseconds between two frames of a camera.
_FRAME_MS = 1000 / 30
# The paper's, of its fastest GPU.
_PAPER_MS = 2.2
# What allocators may keep.
_DEVICE_MIB, _HOST_MIB = 8, 32


def figures_path(folder: Path, step: str) -> Path:
    """Where a step writes what it finds; the stem is the step's key among all figures."""
    return folder / 'steps' / f'{step.replace(":", ".")}.json'


def judge(figures: Figures) -> list[dict[str, Any]]:
    """The aims, with what was found and whether that meets them; None where nothing was found."""
    return [
        {'aim': aim, 'found': found, 'unit': unit, 'met': None if found is None else met(found)}
        for aim, unit, found, met in _aims(figures)
    ]


def _aims(figures: Figures) -> Iterator[tuple[str, str, float | None, Any]]:
    for model in MODELS:
        for way, least in (('torch fp32', 4), ('torch.compile fp16', 2)):
            yield (
                f'{model}, batch 1: at least {least} times as fast as {way}',
                'times',
                _find(figures, f'measure.{model}', 'batch_1', way, 'ratio', '50'),
                lambda found, least=least: found >= least,
            )
    yield (
        f'efficientad, batch 1: less than {_PAPER_MS} ms',
        'ms',
        _find(figures, 'measure.efficientad', 'batch_1', f'{_ours(figures)} fp16', 'ms', '50'),
        lambda found: found < _PAPER_MS,
    )
    for model in MODELS:
        yield (
            f'{model}, swaps: the longest gap between results less than {_FRAME_MS:.1f} ms',
            'ms',
            _find(figures, f'swap.{model}', 'longest_gap_ms', 'swapping'),
            lambda found: found < _FRAME_MS,
        )
        for memory, most in (('device', _DEVICE_MIB), ('host', _HOST_MIB)):
            yield (
                f'{model}, swaps: at most {most} MiB more on the {memory}',
                'MiB',
                _find(figures, f'swap.{model}', 'growth_mib', memory),
                lambda found, most=most: found <= most,
            )


def tables(result: Mapping[str, Any]) -> str:
    """Everything as tables in Markdown, with columns that are aligned for a terminal, too."""
    figures: Figures = result['figures']
    machine = figures.get('data', {})
    versions = [f'{name} {version}' for name, version in machine.get('versions', {}).items()]
    parts = [
        '; '.join([machine.get('gpu', 'no GPU'), *([', '.join(versions)] if versions else [])]),
        _table(
            'model|way|p50, ms|p95, ms|times fp16|images/s, batch 16|MiB|build, s|drift|AUROC',
            _ways(figures),
        ),
        _table(
            'model|fp16 through|p50, ms|p95, ms|times|images/s, batch 16|images/s, one by one',
            _variants(figures),
        ),
        _table(
            'model|frame, ms|longest gap, ms|while swapping, ms|a swap, ms|device, MiB|host, MiB',
            _swaps(figures),
        ),
        _table('step|without|because', _missing(figures)),
        _table('EfficientAD on|steps|seconds|image AUROC', _curves(figures)),
        _table(
            'aim|found|met',
            (
                [one['aim'], _number(one['found'], one['unit']), _yes(one['met'])]
                for one in result['aims']
            ),
        ),
        _table(
            'step|seconds|what became of it',
            (
                [name, _number(one['seconds']), f'{one["status"]} {one["error"]}'.strip()]
                for name, one in result['steps'].items()
            ),
        ),
    ]
    return '\n\n'.join(part for part in parts if part)


def _ways(figures: Figures) -> Iterator[list[str]]:
    for step, found in _of_kind(figures, 'measure'):
        model = step.partition('.')[2]
        for way in _find(found, 'batch_1') or {}:
            precision = way.removeprefix(f'{_ours(figures)} ')
            engine = figures.get(f'engine.{model}.{precision}', {})
            yield [
                model,
                way,
                *_times(found, way),
                _number(_find(found, 'device_mib', way)),
                _number(engine.get('build_seconds')),
                _number(engine.get('drift')),
                _number(engine.get('image_auroc'), digits=4),
            ]


def _ours(figures: Figures) -> str:
    """What adet ran the graphs with; TensorRT wherever that runs."""
    return str(figures.get('data', {}).get('ours', 'TensorRT'))


def _missing(figures: Figures) -> Iterator[list[str]]:
    """What could not be had, and why."""
    for step, found in figures.items():
        for way, reason in found.get('failed', {}).items():
            yield [step, way, reason]
        if 'refused' in found:
            yield [step, '', found['refused']]


def _variants(figures: Figures) -> Iterator[list[str]]:
    for step, found in _of_kind(figures, 'variants'):
        for way in _find(found, 'batch_1') or {}:
            singly = _find(found, 'singly', way, 'ms', '50')
            yield [step.split('.')[1], way, *_times(found, way), _per_second(singly)]


def _times(found: Mapping[str, Any], way: str) -> list[str]:
    spent, ratio = (_find(found, 'batch_1', way, name) or {} for name in ('ms', 'ratio'))
    spread = f' ({_number(ratio["25"])} to {_number(ratio["75"])})' if ratio else ''
    batch = _find(found, 'batch_16', way, 'ms', '50')
    return [
        _number(spent.get('50')),
        _number(spent.get('95')),
        _number(ratio.get('50')) + spread,
        _per_second(batch),
    ]


def _per_second(batch_ms: float | None) -> str:
    """Images per second from the time of 16."""
    return _number(batch_ms and 16_000 / batch_ms)


def _swaps(figures: Figures) -> Iterator[list[str]]:
    for step, found in _of_kind(figures, 'swap'):
        yield [
            step.partition('.')[2],
            _number(found.get('frame_ms')),
            _number(_find(found, 'longest_gap_ms', 'quiet')),
            _number(_find(found, 'longest_gap_ms', 'swapping')),
            _number(found.get('swap_ms')),
            _number(_find(found, 'growth_mib', 'device')),
            _number(_find(found, 'growth_mib', 'host')),
        ]


def _curves(figures: Figures) -> Iterator[list[str]]:
    for step, found in _of_kind(figures, 'curve'):
        for point in found.get('points', ()):
            yield [
                step.partition('.')[2] or 'drawn images',
                str(point['steps']),
                f'{point["seconds"]:.0f}',
                _number(point['image_auroc'], digits=4),
            ]


def _of_kind(figures: Figures, kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((step, found) for step, found in figures.items() if step.split('.')[0] == kind)


def _find(figures: Any, *path: str) -> Any:
    """What lies at the end of a path through mappings; None if there is nothing."""
    for name in path:
        figures = figures.get(name) if isinstance(figures, Mapping) else None
    return figures


def _number(value: float | None, unit: str = '', *, digits: int = 3) -> str:
    if value is None:
        return '-'
    text = f'{value:.{digits}g}' if abs(value) < 10**digits else f'{value:.0f}'
    return f'{text} {unit}'.strip()


def _yes(met: bool | None) -> str:
    return '-' if met is None else 'yes' if met else 'no'


def _table(heads: str, rows: Iterable[Sequence[str]]) -> str:
    """A table of rows of cells, its heads separated by ``|``; empty without rows."""
    names = heads.split('|')
    cells = list(rows)
    if not cells:
        return ''
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    return '\n'.join(
        '| ' + ' | '.join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + ' |'
        for line in (names, ['-' * width for width in widths], *cells)
    )
