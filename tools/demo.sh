#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# The main job from beginning to end, in demo/: draw pictures, learn, deploy, export, inspect through real ROS nodes,
# evaluate. Run it with `make demo`; WEIGHTS=imagenet (needs the network) or WEIGHTS=FILE inspects better than random.
set -euo pipefail
cd "$(dirname "$0")/.."

weights=${WEIGHTS:-random}
data=demo/data category=synth_plate models=demo/models output=demo/output

step() { printf '\n== %s\n' "$*"; }

if [[ ! -d $data/train/$category ]]; then
  step "draw pictures of a machined plate: 60 good ones to learn from, 20 good and 30 bad ones to test"
  adet synth "$data" --category "$category" --train 60 --test-normal 20 --test-anomaly 30 --size 256 --seed 0
fi

step "learn what normal looks like (PaDiM, backbone weights: $weights)"
trained=$(adet train --model padim --category "$category" --data-root "$data" --models-root "$models" \
  --backbone-weights "$weights" --json | tail -n 1)
run_dir=$(python -c 'import json, sys; print(json.loads(sys.argv[1])["run_dir"])' "$trained")

step "deploy the bundle and export its graph"
adet deploy "$run_dir" --models-root "$models"
adet export "$models/PaDiM"

step "inspect the test pictures: image_source -> padim_detector -> csv_recorder, over DDS"
adet inspect --model padim --source "$data/test/$category" --models-root "$models" --output-dir "$output"

step "evaluate"
adet evaluate --results "$output/result_padim.csv" --report "$output/report"

printf '\nresults   %s\nreport    %s\noverlays  %s\n' \
  "$output/result_padim.csv" "$output/report/report.json" "$run_dir/test_result/images"
