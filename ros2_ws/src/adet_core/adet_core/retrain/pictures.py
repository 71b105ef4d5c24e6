# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which pictures of a folder are new, which of them are learned, and which are kept back."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
import hashlib
from pathlib import Path

import numpy as np

from adet_core.bundle import Bundle
from adet_core.errors import DatasetError, PictureError
from adet_core.feedback import is_feedback
from adet_core.pictures import decode_picture, Image, prepare
from adet_core.progress import Report
from adet_core.sources import label_of, LABELS, list_pictures

_MINIMUM = 2


@dataclass(frozen=True)
class NewPicture:
    """One prepared picture.

    Attributes:
        path: Its file.
        sha256: Of the file.
        image: uint8 ``(H, W, 3)``, RGB, of the graph's size.
        is_marked: An operator marked it as fine.
    """

    path: Path
    sha256: str
    image: Image
    is_marked: bool


@dataclass
class Pictures:
    """What a retraining works with.

    Attributes:
        learn: New pictures to learn from.
        known: Pictures of the folder that were learned from before; filled on request.
        held_out: Good pictures kept back, new and old.
        normals: Good pictures that came with the bundle, kept back likewise.
        unreadable: One line for each picture that was skipped.
    """

    learn: list[NewPicture] = field(default_factory=list)
    known: list[NewPicture] = field(default_factory=list)
    held_out: list[NewPicture] = field(default_factory=list)
    normals: list[Image] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def marked(self) -> list[Image]:
        """Those to learn from that an operator marked as fine."""
        return [picture.image for picture in self.learn if picture.is_marked]

    @property
    def good(self) -> list[Image]:
        """All good pictures that no model of this retraining was fitted to."""
        return [*self.normals, *(picture.image for picture in self.held_out)]


@dataclass(frozen=True)
class LabelledPicture:
    """A labelled picture."""

    image: Image
    is_anomalous: bool


def collect(
    bundle: Bundle,
    folder: Path,
    *,
    incremental: bool,
    share: float,
    replay: bool,
    report: Report,
) -> Pictures:
    """Read a folder of good pictures and divide it.

    A picture is kept back or learned for good: its content decides, not the number of pictures
    beside it. What an operator marked as fine is always learned.

    Args:
        bundle: As it is in service.
        folder: Good pictures.
        incremental: Go on from what the bundle knows; else it is forgotten, and all count as new.
        share: Of the new pictures, how many are kept back.
        replay: Whether pictures that were learned before are wanted, too.
        report: Told the progress.

    Raises:
        DatasetError: The folder is missing or empty, holds pictures labelled as anomalies, holds
            nothing new, or too little.
    """
    if not folder.is_dir():
        msg = f'{folder}: no such folder; put pictures of good parts there'
        raise DatasetError(msg)
    # Marked ones first: of two equal pictures the first one counts.
    paths = sorted(list_pictures(folder), key=lambda path: not is_feedback(path))
    learned, kept_back = bundle.known_pictures() if incremental else ({}, {})
    size = (bundle.manifest.image.height, bundle.manifest.image.width)
    found = Pictures(normals=list(bundle.normals()) if incremental else [])
    # The bundle's own may also lie in the folder.
    seen = {_content(image) for image in found.normals}
    for number, path in enumerate(paths, start=1):
        if label_of(path, folder) == LABELS[1]:
            msg = f'{path}: is labelled as an anomaly; only good parts are learned from'
            raise DatasetError(f'{msg}; name the folder of the good ones')
        try:
            picture = _read(path, size, [] if replay else learned)
        except PictureError as error:
            found.unreadable.append(str(error))
        else:
            if picture is not None and _content(picture.image) not in seen:
                seen.add(_content(picture.image))
                _sort_in(picture, found, learned, kept_back, share)
        report('load', number, len(paths))
    _check(found, folder, len(paths), incremental=incremental)
    return found


def collect_test(folder: Path | None, bundle: Bundle, report: Report) -> list[LabelledPicture]:
    """Read labelled pictures, ``normal`` and ``anomaly``; none for None.

    Raises:
        DatasetError: The folder is missing or empty, or a picture has no label.
    """
    if folder is None:
        return []
    if not folder.is_dir():
        msg = f'{folder}: no such folder; it takes normal/ and anomaly/'
        raise DatasetError(msg)
    size = (bundle.manifest.image.height, bundle.manifest.image.width)
    found = []
    paths = list_pictures(folder)
    for number, path in enumerate(paths, start=1):
        label = label_of(path, folder)
        if not label:
            msg = f'{path}: has no label; test pictures belong in normal/ or anomaly/'
            raise DatasetError(msg)
        picture = _read(path, size, [])
        assert picture is not None
        found.append(LabelledPicture(picture.image, label == LABELS[1]))
        report('load test pictures', number, len(paths))
    return found


def _read(path: Path, size: tuple[int, int], skip: Container[str]) -> NewPicture | None:
    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f'{path}: {error.strerror}'
        raise PictureError(msg) from None
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 in skip:
        return None
    image = prepare(decode_picture(data, str(path)), size)
    return NewPicture(path, sha256, image, is_feedback(path))


def _sort_in(
    picture: NewPicture,
    found: Pictures,
    learned: dict[str, str],
    kept_back: dict[str, str],
    share: float,
) -> None:
    if picture.sha256 in learned:
        found.known.append(picture)
    elif not picture.is_marked and (
        picture.sha256 in kept_back or int(picture.sha256[:8], 16) < share * 2**32
    ):
        found.held_out.append(picture)
    else:
        found.learn.append(picture)


def _check(found: Pictures, folder: Path, count: int, *, incremental: bool) -> None:
    if not found.good and len(found.learn) > _MINIMUM:
        # Somebody has to be asked where the threshold lies.
        found.held_out.append(found.learn.pop())
    why = f'; {found.unreadable[0]}' if found.unreadable else ''
    if incremental and not found.learn:
        msg = f'{folder}: nothing new to learn among {count} pictures{why}; add pictures of good '
        raise DatasetError(f'{msg}parts, or learn all of them anew (mode full)')
    needed = 1 if incremental else _MINIMUM
    if len(found.learn) < needed or not found.good:
        msg = (
            f'{folder}: {len(found.learn)} pictures to learn from and {len(found.good)} to find '
            f'the threshold with, at least {needed} and 1 are needed{why}'
        )
        raise DatasetError(msg)


def _content(image: Image) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()
