# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays of a training that memory does not hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adet_core.errors import DatasetError
from adet_training.scratch import Scratch


def test_the_first_arrays_stay_in_memory_and_others_lie_in_a_file(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / 'models', most=100)
    first, second = (np.full((5, 4, 3), value, np.uint8) for value in (1, 2))
    assert scratch.keep(first) is first
    assert not (tmp_path / 'models').exists()
    assert scratch.sizes_with(40) == (100, 0)
    kept = scratch.keep(second)
    assert not np.shares_memory(kept, second)
    np.testing.assert_array_equal(kept, second)
    maps = scratch.empty((2, 3), np.float32)
    maps[:] = 7
    np.testing.assert_array_equal(maps, np.full((2, 3), 7))
    large = scratch.empty((2, 30), np.float32)
    large[1] = 3
    np.testing.assert_array_equal(kept, second)
    assert scratch.memory == 60 + 24
    assert scratch.disk == scratch.sizes_with(1000)[1] - 1000
    # The file has no name.
    assert list((tmp_path / 'models').iterdir()) == []


def test_an_array_outlives_what_keeps_it(tmp_path: Path) -> None:
    kept = Scratch(tmp_path, most=0).keep(np.arange(5000))
    np.testing.assert_array_equal(kept, np.arange(5000))


def test_a_full_disk_is_told_before_anything_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.posix_fallocate', full)
    with pytest.raises(DatasetError, match=f'{tmp_path}: No space left on device; images of a'):
        Scratch(tmp_path, most=0).keep(np.zeros(9))
