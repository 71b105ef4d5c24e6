# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The runtime of adet: bundles, image preparation, backends, detector, records, metrics.

It needs neither ROS nor torch: numpy, OpenCV and an inference backend are enough, so the same
code runs in a node, in a notebook and on a machine that has nothing else.
"""

__version__ = '0.1.0'
