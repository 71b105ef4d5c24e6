#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Write constraints.txt anew from requirements/*.in, and the lists of JupyterLab and of the documentation. Versions already pinned stay; LOCK_ARGS=--upgrade renews them.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# uv, because pip cannot resolve for four Python versions at once. Not in the environment: only this needs it.
if ! uv=$(command -v uv); then
  python3 -m venv "$scratch/venv"
  "$scratch/venv/bin/pip" install --quiet uv
  uv=$scratch/venv/bin/uv
fi

cp constraints.txt "$scratch/pins.txt" 2>/dev/null || touch "$scratch/pins.txt"
# shellcheck disable=SC2086  # LOCK_ARGS is a list of words
"$uv" pip compile --quiet --universal --python-version 3.10 --no-annotate --no-header \
  ${LOCK_ARGS:-} --output-file "$scratch/pins.txt" requirements/*.in

cat - "$scratch/pins.txt" > "$scratch/constraints.txt" <<'HEADER'
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Every package of the environment, pinned, for Python 3.10 to 3.13. Written by `make lock` from requirements/*.in:
# change those, not this file.
HEADER

# A list of its own, with the versions of the environment where both have a package.
pin() {
  local list=$1 python=$2 what=$3
  cp "$list.txt" "$scratch/own.txt" 2>/dev/null || touch "$scratch/own.txt"
  # shellcheck disable=SC2086
  "$uv" pip compile --quiet --universal --python-version "$python" --no-annotate --no-header \
    ${LOCK_ARGS:-} --constraint "$scratch/pins.txt" --output-file "$scratch/own.txt" "$list.in"
  cat - "$scratch/own.txt" > "$list.txt" <<HEADER
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# $what, pinned. Written by \`make lock\` from ${list##*/}.in: change that, not this file.
HEADER
}

pin docker/training/jupyterlab 3.12 JupyterLab
pin docs/requirements 3.10 'What builds the documentation site'
pin tests/openvino 3.10 'A further backend for CPUs'
mv "$scratch/constraints.txt" constraints.txt
