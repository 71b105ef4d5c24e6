# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""adet's coreset selection beside Anomalib's, in turns: seconds and cover radius.

    python benchmarks/coreset.py --features 20000 --channels 384 --ratio 0.1

The features are a smooth function of 8 numbers and a little noise: like a network's, they lie near
a curved surface of few dimensions. The radius is that of the features as they are, for both.
Writes coreset.json.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from statistics import median
import time
from typing import Any

from anomalib.models.components import KCenterGreedy
import numpy as np
import torch

from adet_core.coreset import cover_radius, Features, select_coreset
from adet_training.quiet import quiet_libraries
from adet_training.versions import library_versions


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--features', type=int, default=20_000)
    parser.add_argument('--channels', type=int, default=384)
    parser.add_argument('--ratio', type=float, default=0.1)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--out', type=Path, default=Path('coreset.json'))
    arguments = parser.parse_args()
    rounds: list[dict[str, Any]] = []
    with quiet_libraries():
        for seed in range(arguments.rounds):
            features = _features(arguments.features, arguments.channels, seed)
            rounds.append(_measure(features, arguments.ratio, seed))
    result = {
        **{name: getattr(arguments, name) for name in ('features', 'channels', 'ratio')},
        'cores': os.cpu_count(),
        'versions': library_versions('anomalib', 'torch', 'numpy'),
        'rounds': rounds,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + '\n')
    for number in rounds:
        print(
            f'adet {number["adet_s"]:.2f} s, radius {number["adet_radius"]:.4f}; '
            f'anomalib {number["anomalib_s"]:.2f} s, radius {number["anomalib_radius"]:.4f}'
        )
    ratios = sorted(number['anomalib_s'] / number['adet_s'] for number in rounds)
    print(f'{median(ratios):.1f} times as fast ({ratios[0]:.1f} to {ratios[-1]:.1f})')


def _features(count: int, channels: int, seed: int) -> Features:
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(count, 8)).astype(np.float32)
    first = np.tanh(places @ rng.normal(size=(8, 64)).astype(np.float32))
    spread = rng.normal(scale=1 / 8, size=(64, channels)).astype(np.float32)
    noise = rng.normal(scale=0.05, size=(count, channels)).astype(np.float32)
    features: Features = first @ spread + noise
    return features


def _measure(features: Features, ratio: float, seed: int) -> dict[str, float]:
    start = time.perf_counter()
    ours = select_coreset(features, int(len(features) * ratio), seed=seed)
    between = time.perf_counter()
    torch.manual_seed(seed)
    sampler = KCenterGreedy(torch.from_numpy(features), sampling_ratio=ratio)
    theirs = np.array(sampler.select_coreset_idxs())
    end = time.perf_counter()
    return {
        'adet_s': between - start,
        'anomalib_s': end - between,
        'adet_radius': cover_radius(features, ours),
        'anomalib_radius': cover_radius(features, theirs),
    }


if __name__ == '__main__':
    main()
