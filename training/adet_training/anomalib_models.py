# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Names of the models of the installed Anomalib, and why some of them are refused.

Nothing here imports Anomalib or torch. docs/models.md has the table that
``tools/anomalib_table.py`` makes of them.
"""

from __future__ import annotations

from collections.abc import Mapping
import functools
from importlib.util import find_spec
from pathlib import Path

from adet_core.errors import ConfigError

# Those that adet has an adapter of its own for, under another name.
_OWN = {'efficient_ad'}

_NO_MAP = 'it gives a score without an anomaly map'
_NOT_TRAINED = 'it is not trained on images, but downloads networks that adet cannot export'

REFUSED: Mapping[str, str] = {
    'anomalyvfm': _NOT_TRAINED,
    'cfm': 'it needs a depth image beside each colour image',
    'dfkde': _NO_MAP,
    'fre': 'its graph cannot be exported',
    'ganomaly': _NO_MAP,
    'vlm_ad': 'it asks a language model about each image',
    'winclip': _NOT_TRAINED,
}
"""Model name to the reason why it cannot be trained or exported."""


@functools.cache
def anomalib_models() -> tuple[str, ...]:
    """The names of its image models, sorted."""
    spec = find_spec('anomalib')
    folders = spec.submodule_search_locations if spec else None
    return tuple(
        sorted(
            found.parent.name
            for folder in folders or []
            for found in Path(folder, 'models', 'image').glob('*/lightning_model.py')
            if found.parent.name not in _OWN
        )
    )


def check_exportable(name: str) -> None:
    """Refuse a model of Anomalib that cannot become a bundle.

    Raises:
        ConfigError: Says why not.
    """
    if name in REFUSED:
        msg = f"Anomalib's {name} cannot be used: {REFUSED[name]}; take another model"
        raise ConfigError(msg)
