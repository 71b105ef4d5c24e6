#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# The inspection of a machine that starts by itself, described by environment variables (deploy/adet.env).
set -euo pipefail

words=(
  "model:=${ADET_MODEL:-padim}"
  "source:=${ADET_SOURCE:-camera:0}"
  "models_root:=${ADET_MODELS_ROOT:-models}"
  "output_dir:=${ADET_OUTPUT_DIR:-output}"
  "backend:=${ADET_BACKEND:-auto}"
  "respawn:=${ADET_RESPAWN:-true}"
  "namespace:=${ADET_NAMESPACE:-}"
)
exec "$(dirname "$0")/launch.sh" adet inspect.launch.py "${words[@]}"
