# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One node per file: parameters, messages, and a call of adet_core."""
