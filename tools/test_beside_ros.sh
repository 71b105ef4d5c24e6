#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Test adet_core and adet_evaluation with numpy and OpenCV as apt has them beside ROS 2 Jazzy; those of constraints.txt are newer. Needs the
# package index, and nothing of .venv: tools/test_beside_ros.sh [PYTEST_ARGS]. PYTHON names a Python 3.10 to 3.12.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
names=$(sed -n 's/==.*//p' docker/steps/beside_ros.txt | sort -u | paste -sd '|')
{ grep -v -E "^($names|opencv-python-headless)==" constraints.txt && cat docker/steps/beside_ros.txt; } > "$scratch/constraints.txt"
"$scratch/venv/bin/pip" install --quiet --constraint "$scratch/constraints.txt" opencv-python-headless==4.6.0.66 \
  numpy onnxruntime rich threadpoolctl mcap rosbags jinja2 plotly hypothesis onnx pytest pytest-timeout pyyaml
"$scratch/venv/bin/pip" install --quiet --no-deps ./ros2_ws/src/adet_core ./ros2_ws/src/adet_evaluation ./training/adet_synth

# The others need ROS, torch or the tools of .venv.
PATH="$scratch/venv/bin:$PATH" OMP_NUM_THREADS=1 "$scratch/venv/bin/python" -m pytest tests/unit \
  --ignore tests/unit/test_docs.py --ignore tests/unit/test_architecture.py --ignore tests/unit/test_packaging.py \
  --ignore tests/unit/test_docker.py "$@"
