#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Run a command where ROS 2 and the workspace of this checkout are sourced: entrypoint.sh COMMAND...
# ROS_DISTRO names the distribution; ROS_ROOT (default /opt/ros) is where it lies.
set -eo pipefail

root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
if [[ -z ${ROS_DISTRO:-} ]]; then
  echo 'error: ROS_DISTRO is not set: name the ROS 2 that is installed here, e.g. jazzy' >&2
  exit 1
fi
for file in "${ROS_ROOT:-/opt/ros}/$ROS_DISTRO/setup.bash" "$root/ros2_ws/install/local_setup.bash"; do
  if [[ ! -f $file ]]; then
    echo "error: $file: missing: install ROS 2 $ROS_DISTRO, and build ros2_ws with colcon" >&2
    exit 1
  fi
  # shellcheck disable=SC1090
  . "$file"
done
exec "$@"
