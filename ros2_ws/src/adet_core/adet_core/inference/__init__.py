# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From an exported graph to a verdict: backends, the parity check, and the detector."""
