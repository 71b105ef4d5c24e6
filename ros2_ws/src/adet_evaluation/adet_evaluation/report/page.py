# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""An evaluation as one HTML file to look at, and as JSON to go on with."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from importlib.resources import files
import json
from pathlib import Path, PurePath

from adet_core import __version__
from adet_core.bundle import write_atomic
from adet_core.errors import ConfigError
from adet_evaluation.evaluation import Evaluation
from adet_evaluation.figures import CONFIDENCE
from adet_evaluation.report.data import origin_of, script_data, to_dict
from adet_evaluation.report.galleries import draw_gallery
from adet_evaluation.report.table import EXPLAINED, figure_rows, format_figure

JSON_FILE = 'report.json'
HTML_FILE = 'report.html'


def write_report(folder: Path, evaluation: Evaluation) -> Path:
    """Write ``report.html``, which needs no network and no other file, and ``report.json``.

    Args:
        folder: Made if need be.
        evaluation: What to show.

    Returns:
        The HTML file.

    Raises:
        ConfigError: The libraries that make it are not installed.
        OSError: A file cannot be written.
    """
    # Loaded here, as most evaluations write no report.
    try:
        from jinja2 import Environment
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        msg = f'the report needs {error.name}, which is not installed: pip install jinja2 plotly'
        raise ConfigError(msg) from None

    shown = [
        {
            'name': name,
            'defects': one.figures.defect_types,
            'gallery': draw_gallery(evaluation, name),
            'inspected': sum(row.score is not None for row in one.rows),
            'origin': origin_of(one),
        }
        for name, one in evaluation.models.items()
    ]
    names = ', '.join(evaluation.models)
    parts = files('adet_evaluation.report')
    page = Environment(autoescape=True).from_string((parts / 'page.html').read_text('utf-8'))
    html = page.render(
        title=f'{names}: evaluation of {PurePath(evaluation.source).name}',
        created=f'{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC',
        source=evaluation.source,
        warnings=evaluation.warnings,
        models=shown,
        table=figure_rows([asdict(one.figures) for one in evaluation.models.values()]),
        figure=format_figure,
        explained=EXPLAINED,
        version=__version__,
        confidence=f'{CONFIDENCE:.0%}',
        style=_Safe((parts / 'page.css').read_text('utf-8')),
        script=_Safe((parts / 'page.js').read_text('utf-8')),
        plotly=_Safe(get_plotlyjs()),
        data=_Safe(script_data(evaluation.models)),
    )
    text = json.dumps(to_dict(evaluation), indent=2, allow_nan=False) + '\n'
    write_atomic(folder / JSON_FILE, text.encode())
    # A file has any bytes for a name.
    write_atomic(folder / HTML_FILE, html.encode(errors='backslashreplace'))
    return folder / HTML_FILE


class _Safe(str):
    """Text that is HTML already."""

    __slots__ = ()

    def __html__(self) -> str:
        return self
