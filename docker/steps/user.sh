#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# The user adet, who may open cameras, and the folders it writes: user.sh UID GID FOLDER...
set -euo pipefail
uid=$1 gid=$2
shift 2

# Ubuntu 24.04 comes with a user who has the number that most people have.
taken=$(getent passwd "$uid" | cut -d: -f1) || true
[[ -z $taken ]] || userdel --remove "$taken" 2>/dev/null
getent group "$gid" > /dev/null || groupadd --gid "$gid" adet
useradd --uid "$uid" --gid "$gid" --groups video --create-home --shell /bin/bash adet
install --directory --owner "$uid" --group "$gid" "$@"
