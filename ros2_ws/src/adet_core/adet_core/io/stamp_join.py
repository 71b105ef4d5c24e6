# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Images and verdicts joined with what is told of them beside: by stamp, in whatever order."""

from __future__ import annotations

from typing import Generic, TypeVar

Info = TypeVar('Info')


class StampJoin(Generic[Info]):
    """What was told of stamps, for whoever asks for it; the oldest make room for new ones."""

    def __init__(self, limit: int | None = None) -> None:
        """Hold nothing yet.

        Args:
            limit: Stamps that are remembered; None for all.
        """
        self._limit = limit
        self._infos: dict[int, Info] = {}
        self._unused: set[int] = set()

    def tell(self, stamp_ns: int, info: Info) -> list[tuple[int, Info]]:
        """Take what is told of a stamp.

        Returns:
            The stamps that are forgotten now and that nobody asked for, and what was told of them.
        """
        self._infos[stamp_ns] = info
        self._unused.add(stamp_ns)
        forgotten = []
        while self._limit is not None and len(self._infos) > self._limit:
            oldest = next(iter(self._infos))
            told = self._infos.pop(oldest)
            if oldest in self._unused:
                self._unused.remove(oldest)
                forgotten.append((oldest, told))
        return forgotten

    def __contains__(self, stamp_ns: int) -> bool:
        """Whether anything is known of a stamp; this does not count as asking for it."""
        return stamp_ns in self._infos

    def get(self, stamp_ns: int) -> Info | None:
        """What was told of a stamp; may be asked for several times."""
        self._unused.discard(stamp_ns)
        return self._infos.get(stamp_ns)

    def unused(self) -> list[tuple[int, Info]]:
        """The stamps that nobody asked for, in the order in which they were told."""
        return [(stamp, info) for stamp, info in self._infos.items() if stamp in self._unused]
