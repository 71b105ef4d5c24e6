# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""adet's coreset selection beside Anomalib's, in turns: seconds and cover radius.

    python benchmarks/coreset.py --features 20000 --channels 384 --ratio 0.1
    python benchmarks/coreset.py --features 157000 --few 300

The features are a smooth function of 8 numbers and a little noise: like a network's, they lie near
a curved surface of few dimensions. The radius is that of the features as they are, for both.

With ``--few`` Anomalib chooses only so many centres, and its seconds for all are those for two and
as many times the difference as there are centres more: its loop does the same for each. The radius
is compared for so few on both sides then. Writes coreset.json.
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
import numpy.typing as npt
import torch

from adet_core.models.coreset import cover_radius, Features, select_coreset
from adet_training.quiet import quiet_libraries
from adet_training.versions import library_versions


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--features', type=int, default=20_000)
    parser.add_argument('--channels', type=int, default=384)
    parser.add_argument('--ratio', type=float, default=0.1)
    parser.add_argument('--few', type=int, default=0)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--out', type=Path, default=Path('coreset.json'))
    arguments = parser.parse_args()
    rounds: list[dict[str, Any]] = []
    with quiet_libraries():
        for seed in range(arguments.rounds):
            features = _features(arguments.features, arguments.channels, seed)
            rounds.append(_measure(features, arguments.ratio, arguments.few, seed))
    result = {
        **{name: getattr(arguments, name) for name in ('features', 'channels', 'ratio', 'few')},
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


def _measure(features: Features, ratio: float, few: int, seed: int) -> dict[str, float]:
    count = int(len(features) * ratio)
    start = time.perf_counter()
    ours = select_coreset(features, count, seed=seed)
    adet_s = time.perf_counter() - start
    theirs, anomalib_s = _anomalibs(features, few or count, seed)
    if few:
        _, first_s = _anomalibs(features, 2, seed)
        anomalib_s = first_s + (anomalib_s - first_s) / (few - 2) * (count - 2)
    return {
        'adet_s': adet_s,
        'anomalib_s': anomalib_s,
        # The first choices are the same, however many follow.
        'adet_radius': cover_radius(features, ours[: len(theirs)]),
        'anomalib_radius': cover_radius(features, theirs),
    }


def _anomalibs(features: Features, count: int, seed: int) -> tuple[npt.NDArray[np.int64], float]:
    """Anomalib's choice of so many, and the seconds it took."""
    torch.manual_seed(seed)
    # It takes the ratio's share of the features, rounded down.
    sampler = KCenterGreedy(torch.from_numpy(features), (count + 0.5) / len(features))
    start = time.perf_counter()
    chosen = np.array(sampler.select_coreset_idxs())
    return chosen, time.perf_counter() - start


if __name__ == '__main__':
    main()
