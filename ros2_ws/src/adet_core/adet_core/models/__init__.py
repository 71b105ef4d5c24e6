# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""All that the runtime knows of single models: their names, and statistics that can be relearned.

`names` is the table of models, `statistics_model` the interface of those that have statistics:
everything outside of this folder uses these two and names no model. `gaussian` and `memory_bank`
implement the interface; `transforms` lists the transforms of `gaussian_levels` and `memory_bank`.
"""
