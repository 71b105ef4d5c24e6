# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 nodes of adet: thin layers over adet_core."""
