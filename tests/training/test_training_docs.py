# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""docs/training.md has the hyper-parameters of every model, as its adapter takes them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
import re
from typing import Any

from docs_sources import entries_of
import pytest

from adet_training.models import load_adapter, own_models
from adet_training.models.efficientad import EXPECTED
from adet_training.parameters import Parameters

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.training

PAGE = (ROOT / 'docs' / 'training.md').read_text()


def text(value: Any) -> str:
    if value in {'', ()}:
        return 'empty'
    if isinstance(value, bool):
        # As YAML writes it.
        return str(value).lower()
    return ','.join(value) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize('model', ['Every model', *own_models()])
def test_the_table_of_a_models_parameters_is_there_and_right(model: str) -> None:
    kind = Parameters if model == 'Every model' else load_adapter(model).parameters
    assert f'### {model}\n\n<!-- table: parameters {kind.__name__} -->' in PAGE
    defaults = {field.name: text(field.default) for field in fields(kind)}
    assert {entry.name: entry.default for entry in entries_of(kind.__name__)} == defaults


def test_what_a_long_training_is_said_to_give_was_measured() -> None:
    measured = (ROOT / 'docs' / 'models.md').read_text()
    figures = re.findall(r'[0-9]+(?:\.[0-9]+)?', EXPECTED)
    assert len(figures) == 5
    assert all(re.search(rf'\b{re.escape(one)}\b', measured) for one in figures)
