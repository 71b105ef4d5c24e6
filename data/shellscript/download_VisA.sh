#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Fetch the VisA data set and unpack it to data/download/VisA.
exec python3 "$(dirname -- "$(realpath -- "$0")")/visa.py" download "$@"
