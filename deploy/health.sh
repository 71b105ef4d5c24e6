#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Whether the inspection that inspect.sh started is alive; exits with 1 if not.
set -euo pipefail
exec adet health --model "${ADET_MODEL:-padim}" --namespace "${ADET_NAMESPACE:-}"
