#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Inspect a folder in Python, without ROS: inspect_folder.py models/PaDiM images/."""

from pathlib import Path
import sys

from adet_core import Detector, open_source


def main(bundle: str, source: str) -> None:
    """Print the verdict of each image, and where it is wrong."""
    detector = Detector.load(Path(bundle))
    for frame in open_source(source):
        if frame.image is None:
            print(f'{frame.source}: {frame.error}')
            continue
        found = detector.inspect(frame.image)
        verdict = 'ANOMALY' if found.is_anomalous else 'normal '
        places = ', '.join(f'({r.x}, {r.y}) {r.width}x{r.height}' for r in found.regions)
        print(f'{verdict} {found.normalised_score:.2f} {frame.source} {places}'.rstrip())


if __name__ == '__main__':
    main(*sys.argv[1:])
