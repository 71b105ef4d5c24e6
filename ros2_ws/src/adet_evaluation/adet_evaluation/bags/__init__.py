# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings of ROS 2 (rosbag2: MCAP and SQLite), read and written without ROS."""

from adet_core.errors import BagError

try:
    from adet_evaluation.bags.reader import Bag
    from adet_evaluation.bags.results import recorded_results
    from adet_evaluation.bags.source import BagSource
    from adet_evaluation.bags.writer import BagOptions, record_images, Recording
except ModuleNotFoundError as error:
    # A robot that only inspects has no need of them.
    msg = f'bags need the package {error.name}, which is not installed: pip install rosbags mcap'
    raise BagError(msg) from None

__all__ = ['Bag', 'BagOptions', 'BagSource', 'Recording', 'record_images', 'recorded_results']
