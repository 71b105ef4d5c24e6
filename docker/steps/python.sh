#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Install requirements into the Python of an image, pinned by constraints.txt: python.sh [--beside-ros] FILE...
# TORCH_BACKEND chooses whose build of torch: auto, cpu, cu130, ...; empty: that of the package index.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
touch "$scratch/overrides.txt"
if [[ ${1:-} == --beside-ros ]]; then
  shift
  other=$root/docker/steps/beside_ros.txt
  names=$(sed -n 's/==.*//p' "$other" | sort -u | paste -sd '|')
  { grep -v -E "^($names|opencv-python-headless)==" "$root/constraints.txt" && cat "$other"; } > "$scratch/constraints.txt"
  # OpenCV comes from apt, as that which cv_bridge is linked against.
  echo "opencv-python-headless; sys_platform == 'none'" > "$scratch/overrides.txt"
else
  cp "$root/constraints.txt" "$scratch/constraints.txt"
fi

words=()
for file in "$@"; do words+=(--requirement "$file"); done
[[ -z ${TORCH_BACKEND:-} ]] || words+=(--torch-backend "$TORCH_BACKEND")

# uv, because pip cannot be told to leave a dependency out. The system's Python of an image is ours.
uv pip install --system --break-system-packages --no-cache \
  --constraint "$scratch/constraints.txt" --override "$scratch/overrides.txt" "${words[@]}"
