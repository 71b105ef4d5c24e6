# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The statistics transforms by the names that ``engine/model.json`` calls them."""

from __future__ import annotations

from collections.abc import Mapping

from adet_core.models.gaussian_levels import GaussianLevels
from adet_core.models.memory_bank import BankSearch
from adet_core.models.statistics_model import NamedTransform

TRANSFORMS: Mapping[str, type[NamedTransform]] = {
    kind.name: kind for kind in (GaussianLevels, BankSearch)
}
