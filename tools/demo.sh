#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# The main job from beginning to end, in demo/: draw images, learn, deploy, export, inspect through real ROS nodes,
# evaluate, learn from a false alarm. Run it with `make demo`; MODEL=patchcore inspects with another model, WEIGHTS=FILE
# with other backbone weights.
set -euo pipefail
cd "$(dirname "$0")/.."

model=${MODEL:-padim} weights=${WEIGHTS:-auto}
data=demo/data category=synth_plate models=demo/models output=demo/output

step() { printf '\n== %s\n' "$*"; }

# One value of the object that a command prints with --json.
field() { tail -n 1 | python -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

if [[ ! -d $data/train/$category ]]; then
  step "draw images of a machined plate: 60 good ones to learn from, 20 good and 30 bad ones to test"
  adet synth "$data" --category "$category" --train 60 --test-normal 20 --test-anomaly 30 --size 256 --seed 0
fi

step "learn what normal looks like ($model, backbone weights: $weights)"
run_dir=$(adet train --model "$model" --category "$category" --data-root "$data" --models-root "$models" \
  --backbone-weights "$weights" --json | field run_dir)

step "deploy the bundle and its graph"
bundle=$(adet deploy "$run_dir" --models-root "$models" --json | field bundle_dir)

step "inspect the test images: image_source -> ${model}_detector -> csv_recorder, over DDS"
adet inspect --model "$model" --source "$data/test/$category" --models-root "$models" --output-dir "$output"

step "evaluate"
adet evaluate --results "$output/result_$model.csv" --bundle "$bundle" --report "$output/report"

printf '\nresults   %s\nreport    %s\noverlays  %s\n' \
  "$output/result_$model.csv" "$output/report/report.html" "$run_dir/test_result/images"

tools/demo_retrain.sh
