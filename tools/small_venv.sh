#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Make a small environment from some requirements, pinned by constraints.txt: small_venv.sh FOLDER REQUIREMENTS...
# FOLDER/.installed is written last and holds where the environment was made.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$1
shift
# A system ROS in this shell would lend its Python packages to the new environment.
unset PYTHONPATH PYTHONHOME
words=()
for file in "$@"; do words+=(--requirement "$file"); done

echo "Making $folder from $* (once)"
"${PYTHON:-python3}" -m venv --clear "$folder"
"$folder/bin/python" tools/install.py --constraint constraints.txt "${words[@]}"
pwd -P > "$folder/.installed"
