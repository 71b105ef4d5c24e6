#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Write constraints.txt anew from requirements/*.in, and that of the JupyterLab image. Versions already pinned stay; LOCK_ARGS=--upgrade renews them.
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

editor=docker/training/jupyterlab
cp $editor.txt "$scratch/editor.txt" 2>/dev/null || touch "$scratch/editor.txt"
# shellcheck disable=SC2086
"$uv" pip compile --quiet --universal --python-version 3.12 --no-annotate --no-header \
  ${LOCK_ARGS:-} --constraint "$scratch/pins.txt" --output-file "$scratch/editor.txt" $editor.in

cat - "$scratch/pins.txt" > "$scratch/constraints.txt" <<'HEADER'
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Every package of the environment, pinned, for Python 3.10 to 3.13. Written by `make lock` from requirements/*.in:
# change those, not this file.
HEADER
cat - "$scratch/editor.txt" > "$scratch/jupyterlab.txt" <<'HEADER'
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# JupyterLab, pinned. Written by `make lock` from jupyterlab.in: change that, not this file.
HEADER
mv "$scratch/constraints.txt" constraints.txt
mv "$scratch/jupyterlab.txt" $editor.txt
