# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A search as one HTML file: history, importances, parallel coordinates."""

from __future__ import annotations

from html import escape
from pathlib import Path

import optuna
from optuna.trial import TrialState

from adet_core.errors import ConfigError
from adet_core.folder import write_atomic

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem }}</style>
<h1>{title}</h1><p>{told}</p>
{figures}
</html>
"""


def write_search_report(path: Path, study: optuna.Study, objective: str) -> None:
    """Write the file; it loads nothing from elsewhere.

    Args:
        path: The file.
        study: With at least one finished trial.
        objective: Name of the values.

    Raises:
        ConfigError: plotly is not installed.
        OSError: The file cannot be written.
    """
    try:
        from optuna import visualization
        from plotly.io import to_html
    except ImportError as error:
        msg = f'--report needs plotly ({error}): pip install plotly'
        raise ConfigError(msg) from None
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    drawn = [visualization.plot_optimization_history(study, target_name=objective)]
    searched = {name for trial in finished for name in trial.params}
    # Importances compare trials, and need more than one value.
    if searched and len({trial.value for trial in finished}) > 1:
        drawn.append(visualization.plot_param_importances(study, target_name=objective))
    if searched:
        drawn.append(visualization.plot_parallel_coordinate(study, target_name=objective))
    figures = '\n'.join(
        to_html(figure, include_plotlyjs=not number, full_html=False)
        for number, figure in enumerate(drawn)
    )
    best = max(trial.value or 0.0 for trial in finished)
    told = f'{len(study.get_trials(deepcopy=False))} trials, {len(finished)} finished, '
    page = _PAGE.format(
        title=f'Search {escape(study.study_name)}',
        told=f'{told}best {escape(objective)} {best:.4f}',
        figures=figures,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, page.encode())
