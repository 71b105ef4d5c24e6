# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which evaluated images a bundle has seen before: figures of these flatter it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
import hashlib
from pathlib import Path
from typing import NamedTuple

from adet_core.bundle import Bundle
from adet_core.folder import open_regular
from adet_core.operating_point import flattery
from adet_core.records import Record


class Seen(NamedTuple):
    """How many of the images a bundle has seen before.

    Attributes:
        images: All that were inspected.
        calibrated: Those that the threshold was chosen with.
        learned: Those that the model was fitted to.
    """

    images: int = 0
    calibrated: int = 0
    learned: int = 0

    def __str__(self) -> str:
        """For people; empty where no image was seen before."""
        return flattery(self.images, calibrated=self.calibrated, learned=self.learned)


def count_seen(rows: Sequence[Record], bundle: Bundle) -> Seen:
    """Count the images that a bundle has seen before, by the contents of their files.

    Images of videos and bags have no file of their own and count as new.

    Raises:
        BundleError: The file that names what the bundle has seen is damaged.
    """
    calibrated, learned = bundle.calibrated_with(), bundle.known_images()[0]
    if not calibrated and not learned:
        return Seen(len(rows))
    found = [_hash(row.source) for row in rows]
    return Seen(
        len(rows),
        sum(one in calibrated for one in found),
        sum(one in learned for one in found),
    )


@cache
def _hash(source: str) -> str:
    """The sha256 of a file; empty where it is none, or has gone."""
    with suppress(OSError, ValueError), open_regular(Path(source)) as file:
        return hashlib.sha256(file.read()).hexdigest()
    return ''
