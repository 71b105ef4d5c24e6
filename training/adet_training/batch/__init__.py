# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Many commands of adet, here or on a cluster: each is a process of its own.

No module imports torch, and only `pools` imports Ray.
"""
