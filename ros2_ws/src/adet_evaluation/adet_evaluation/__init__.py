# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Figures, reports and rosbags, offline.

May import adet_core; no ROS, no torch.
"""
