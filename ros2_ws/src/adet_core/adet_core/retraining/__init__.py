# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Relearning on the robot: new images of good parts in, a checked bundle in service out."""

from adet_core.retraining.session import Outcome, retrain
from adet_core.retraining.settings import MODE_NEW, MODES

__all__ = ['MODES', 'MODE_NEW', 'Outcome', 'retrain']
