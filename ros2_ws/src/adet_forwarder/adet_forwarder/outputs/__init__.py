# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Where rows go, one module for each; their libraries are imported when they are made."""
