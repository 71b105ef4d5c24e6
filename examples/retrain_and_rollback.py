#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Learn new normal images, then go back: retrain_and_rollback.py models/PaDiM data/train/part."""

from pathlib import Path
import sys

from adet_core import open_bundle, retrain, rollback


def main(bundle: str, images: str) -> None:
    """Print which bundle is in service before, after, and after the rollback."""
    folder = Path(bundle)
    print('before:  ', open_bundle(folder, in_service=True).bundle_id)
    # Mode full learns the folder anew; incremental=True adds what is new to what is known.
    outcome = retrain(folder, Path(images), incremental=False)
    if outcome.fault:
        # The gate refused the new set; the old one is still in service.
        print('rejected:', outcome.fault)
        return
    print('after:   ', outcome.bundle.bundle_id, f'({outcome.report.pictures} images)')
    print('rollback:', rollback(folder).bundle_id)


if __name__ == '__main__':
    main(*sys.argv[1:])
