# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""docs/training.md names every hyper-parameter, with its default."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
import re
from typing import Any

import pytest

from adet_training.models import known_models, load_adapter
from adet_training.parameters import Parameters

pytestmark = pytest.mark.training

PAGE = (Path(__file__).parents[2] / 'docs' / 'training.md').read_text()


def text(value: Any) -> str:
    if value == '':
        return 'empty'
    return ','.join(value) if isinstance(value, tuple) else str(value)


def rows(heading: str) -> list[tuple[str, str]]:
    section = re.split(r'^#+ ', PAGE.split(f'# {heading}\n', 1)[1], maxsplit=1, flags=re.MULTILINE)
    cells = re.findall(r'^\| `(\w+)` \| ([^|]+) \|', section[0], flags=re.MULTILINE)
    return [(name, default.strip('` ')) for name, default in cells]


@pytest.mark.parametrize('heading', ['Every model', *known_models()])
def test_the_table_of_a_models_parameters_is_complete_and_right(heading: str) -> None:
    shared = heading == 'Every model'
    kind = Parameters if shared else load_adapter(heading).parameters
    defaults = {field.name: text(field.default) for field in fields(kind)}
    expected = [(name, defaults[name]) for name in vars(kind)['__annotations__']]
    assert rows(heading) == expected
