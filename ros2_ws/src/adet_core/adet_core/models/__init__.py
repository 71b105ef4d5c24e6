# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What the runtime knows of single models: names, and the statistics of PaDiM and PatchCore."""
