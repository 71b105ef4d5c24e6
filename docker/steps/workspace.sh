#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Build ros2_ws against the ROS 2 of an image, with what rosdep finds for it.
set -euo pipefail
cd "$(dirname "$0")/../../ros2_ws"

[[ -e /etc/ros/rosdep/sources.list.d/20-default.list ]] || rosdep init
apt-get update
rosdep update --rosdistro "$ROS_DISTRO"
# numpy comes from python.sh, as apt's on Ubuntu 22.04 is too old for the others.
DEBIAN_FRONTEND=noninteractive rosdep install --from-paths src --ignore-src --rosdistro "$ROS_DISTRO" --default-yes \
  --skip-keys python3-numpy
rm -rf /var/lib/apt/lists/* ~/.ros

# ROS reads variables that may not be set.
set +u
# shellcheck disable=SC1090
. "/opt/ros/$ROS_DISTRO/setup.bash"
set -u
colcon build --event-handlers console_cohesion- --cmake-args -DBUILD_TESTING=OFF
rm -rf build log
