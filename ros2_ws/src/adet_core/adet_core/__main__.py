# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m adet_core`` is the command ``adet``, in whichever Python runs."""

import sys

from adet_core.cli import main

if __name__ == '__main__':
    sys.exit(main())
