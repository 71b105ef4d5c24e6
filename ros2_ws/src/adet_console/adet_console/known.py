# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What the bundle of a detector knows of its threshold, where it lies on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adet_core.bundle import open_bundle
from adet_core.errors import BundleError
from adet_core.operating_point import known_scores


def known_of_bundle(folder: str, bundle_id: str) -> dict[str, Any] | None:
    """See `adet_core.operating_point.known_scores`; None if another bundle lies there, or none.

    Args:
        folder: As the detector names it; it may run on another machine.
        bundle_id: What the detector inspects with.
    """
    try:
        bundle = open_bundle(Path(folder), in_service=True)
    except (BundleError, OSError):
        return None
    if bundle.bundle_id != bundle_id:
        return None
    return known_scores(bundle.manifest.image_threshold, bundle.manifest.score_range)
