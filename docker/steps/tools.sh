#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# What building the workspace takes, on an image that has ROS 2.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends build-essential cmake python-is-python3 python3-colcon-common-extensions \
  python3-dev python3-pip python3-rosdep
rm -rf /var/lib/apt/lists/*
