# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Keep the libraries' chatter out of a command's output; their errors still come through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
import logging
import sys
import warnings


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence information and warnings; what is still printed goes to standard error."""
    logging.disable(logging.WARNING)
    # Standard output is for the command's own result: a script parses its last line.
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            # Not a filter: some libraries reset those while they are imported.
            warnings.showwarning = lambda *_, **__: None
            yield
    finally:
        logging.disable(logging.NOTSET)
