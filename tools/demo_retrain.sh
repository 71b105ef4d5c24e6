#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# After the demo: a false alarm is marked as fine, learned, and passes, while detector and server run. `make demo` calls
# it; alone: . ./env.sh && tools/demo_retrain.sh. MODEL as there; padim and patchcore.
set -euo pipefail
cd "$(dirname "$0")/.."

model=${MODEL:-padim}
demo=$PWD/demo category=synth_plate
nodes=ros2_ws/install/adet/lib/adet
export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}

step() { printf '\n== %s\n' "$*"; }

scratch=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$scratch"' EXIT
rm -rf "$demo/retrained"
mkdir "$demo/retrained"
# What is learned here is not to change what the demo made.
cp -r "$demo/models" "$demo/data" "$demo/retrained"
data=$demo/retrained/data models=$demo/retrained/models

step "a good part in brighter light, which nobody has shown it"
mkdir "$scratch/image"
python - "$data/test/$category/normal" "$scratch/image/bright.png" <<'PY'
from pathlib import Path
import sys

import cv2

image = cv2.imread(str(min(Path(sys.argv[1]).glob('*.png'))))
cv2.imwrite(sys.argv[2], cv2.convertScaleAbs(image, alpha=1.35, beta=20))
PY

"$nodes/detector" --ros-args -r "__node:=${model}_detector" -p "model:=$model" -p "models_root:=$models" \
  -p "data_root:=$data" -p frames:=every &
"$nodes/csv_recorder" --ros-args -p "models:=$model" -p "output_dir:=$scratch" &
"$nodes/retrain_server" --ros-args -p "models_root:=$models" -p "data_root:=$data" &

inspect() {
  timeout 120 "$nodes/image_source" --ros-args -p "source:=$scratch/image" -p "wait_for:=$model"
  python - "$scratch/result_$model.csv" "$1" <<'PY'
from pathlib import Path
import sys

from adet_core.records import read_records

row = list(read_records(Path(sys.argv[1])))[-1]
verdict = 'anomalous' if row.is_anomalous else 'good'
print(f'{verdict}: score {row.score:.4g}, threshold {row.threshold:.4g}, bundle {row.bundle_id}')
sys.exit(verdict != sys.argv[2])
PY
}

step "inspected: a false alarm"
inspect anomalous

step "an operator marks it as fine, and asks for a retraining"
adet mark fine --model "$model" --note "brighter light"
adet retrain-goal --model "$model"

step "inspected again, by the same detector"
inspect good
