#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Build ros2_ws with colcon against the ROS in .venv. ros2_ws/install/.built is written last; without it a build was
# interrupted and the next one starts from nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

# The environment is the only ROS here, whatever was sourced in the shell before.
VIRTUAL_ENV=$(pwd -P)/.venv
export VIRTUAL_ENV PATH="$VIRTUAL_ENV/bin:$PATH" AMENT_PREFIX_PATH=$VIRTUAL_ENV CMAKE_PREFIX_PATH=$VIRTUAL_ENV
unset PYTHONPATH PYTHONHOME COLCON_PREFIX_PATH LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE

cd ros2_ws
[[ -f install/.built ]] || rm -rf build install log
rm -f install/.built

# colcon takes a package whose package.xml it cannot read for plain Python, without a word.
python -c 'import sys; from catkin_pkg.package import parse_package; [parse_package(p) for p in sys.argv[1:]]' \
  src/*/package.xml

# Links, so that an edited source file takes effect at once.
colcon --log-level error build --symlink-install --event-handlers console_cohesion- \
  --cmake-args -DPython3_EXECUTABLE="$VIRTUAL_ENV/bin/python" -DBUILD_TESTING=OFF
touch install/.built
