# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Offline tooling on a PC: learns from images of good parts and writes bundles and graphs."""
