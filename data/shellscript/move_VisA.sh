#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Arrange the unpacked VisA data set as adet reads it. Despite its name it takes nothing away unless it is told to.
exec python3 "$(dirname -- "$(realpath -- "$0")")/visa.py" move "$@"
