# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The action of a retraining, and adet_core's values."""

from __future__ import annotations

from collections.abc import Mapping
import math
from typing import Any

from adet_interfaces.action import Retrain
from adet_interfaces.msg import RetrainFigures

from adet_core.retraining.child import Goal


def to_goal(request: Retrain.Goal) -> Goal:
    """What a client asks for."""
    return Goal(
        model=request.model,
        images=request.images,
        mode=request.mode,
        test_dir=request.test_dir,
        overrides=tuple(request.overrides),
        category=request.category,
    )


def to_retrain_result(result: Mapping[str, Any]) -> Retrain.Result:
    """What a retraining came to, from what `RetrainProcess.run` returns."""
    message = Retrain.Result(
        success=True, message=result['message'], threshold=result['threshold']
    )
    if 'images_used' in result:
        message.images_used = result['images_used']
        if 'before' in result:
            message.before = _to_figures(result['before'])
        message.after = _to_figures(result['after'])
    return message


def _to_figures(values: Mapping[str, Any]) -> RetrainFigures:
    auroc = values['image_auroc']
    return RetrainFigures(
        **{
            **values,
            'image_auroc': math.nan if auroc is None else auroc,
            'made_up_strengths': list(values['made_up']),
            'made_up': list(values['made_up'].values()),
            'made_up_caught': list(values['made_up_caught'].values()),
        }
    )
