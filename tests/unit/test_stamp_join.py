# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The join by stamp: whichever comes first, and no more than so many are remembered."""

from __future__ import annotations

from adet_core.io.stamp_join import StampJoin


def test_what_was_told_may_be_asked_for_several_times() -> None:
    join = StampJoin[str]()
    assert join.get(1) is None
    assert join.tell(1, 'one') == []
    assert 1 in join
    assert 2 not in join
    assert [join.get(1), join.get(1)] == ['one', 'one']
    assert join.unused() == []


def test_the_oldest_make_room_and_those_nobody_asked_for_are_told() -> None:
    join = StampJoin[str](2)
    for stamp in (5, 3):
        assert join.tell(stamp, str(stamp)) == []
    join.get(5)
    assert join.tell(9, '9') == []
    assert join.unused() == [(3, '3'), (9, '9')]
    assert join.tell(1, '1') == [(3, '3')]
    assert 3 not in join
