# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Every error adet raises on purpose.

AdetError               root: its text is one line that says what is wrong and what to do
  BackendError          no usable inference backend, or a graph it cannot run
  BundleError           a bundle (or the engine made from it) is missing, damaged or foreign
  ConfigError           a parameter, option or file of settings has an impossible value
  DatasetError          a folder of images is missing, empty or arranged wrongly
    BagError            a rosbag cannot be read, or lacks the topic asked for
    ImageError        one image cannot be read, or has an encoding adet does not know
  IncompleteError       a command did its work, but some images were lost
  ExportError           the exported graph does not agree with the trained model
  RecordError           a CSV of results cannot be read or continued
  RejectedError         what was retrained failed a check, and what was in service stays

`describe` makes one line of any exception; commands and nodes print nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
import difflib
import os
from pathlib import Path
import traceback
from typing import Any


class AdetError(Exception):
    """Root of all deliberate errors; commands print it as ``error: <text>`` and exit with 1."""


class BackendError(AdetError):
    """No inference backend is usable, or the graph does not fit it."""


class BundleError(AdetError):
    """A bundle is missing, incomplete, damaged, of another model or of a newer schema."""


class ConfigError(AdetError):
    """A parameter or option has a value that cannot be used."""


class DatasetError(AdetError):
    """A folder of images is missing, empty or not arranged as expected."""


class BagError(DatasetError):
    """A rosbag cannot be read, or does not hold what was asked for."""


class ImageError(DatasetError):
    """One image cannot be decoded, or its encoding is not supported."""


class ExportError(AdetError):
    """An exported graph disagrees with the model that it was made from."""


class IncompleteError(AdetError):
    """A command did its work, but some images were lost; it prints both and exits with 1."""

    def __init__(self, text: str, result: dict[str, Any]) -> None:
        """Say what was lost.

        Args:
            text: One line.
            result: What the command came to all the same.
        """
        super().__init__(text)
        self.result = result


class RecordError(AdetError):
    """A CSV of results is not one of adet's, or cannot be continued."""


class RejectedError(AdetError):
    """What was retrained is not good enough; what was in service before stays."""


def describe(error: BaseException) -> str:
    """One printable line for people: what is wrong, and of a bug the place, to be reported."""
    if isinstance(error, AdetError):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = 'there is not enough memory; take smaller or fewer images, or stop other programs'
    elif isinstance(error, OSError):
        name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ''
        text = f'{name}: {error.strerror}' if name else str(error)
    else:
        text = f'{type(error).__name__}: {error} ({_place(error)}); unexpected: please report it '
        text += 'with what ADET_DEBUG=1 prints'
    line = ' '.join(text.splitlines())
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def is_debugging() -> bool:
    """Whether the traceback of an unexpected error is wanted."""
    return os.environ.get('ADET_DEBUG', '') not in {'', '0'}


def _place(error: BaseException) -> str:
    """File and line that raised it; of code of adet if there is some on the way."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f'{os.sep}adet' in str(Path(frame.filename).parent)]
    if not frames:
        return 'no place'
    frame = (own or list(frames))[-1]
    return f'{Path(frame.filename).name}:{frame.lineno}'


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the known one it resembles, if there is one."""
    similar = difflib.get_close_matches(word, list(known), n=1)
    return f'; did you mean {similar[0]}?' if similar else ''
