# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Bundles for many robots: published with a signature, fetched, checked, and rolled back.

`node` is the only module that imports ROS. No module imports torch.
"""
