#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# `ros2 launch` without arguments whose value is empty, which it does not take: launch.sh PACKAGE FILE NAME:=VALUE...
set -euo pipefail

words=()
for word in "$@"; do
  [[ $word == *:= ]] || words+=("$word")
done
exec ros2 launch "${words[@]}"
