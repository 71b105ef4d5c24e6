# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which libraries made a file, so that a difference between two machines can be explained."""

from __future__ import annotations

from importlib import import_module


def library_versions(*modules: str) -> dict[str, str]:
    """Module name to version; adet itself is always among them."""
    return {name: str(import_module(name).__version__) for name in ('adet_core', *modules)}
