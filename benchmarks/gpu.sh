#!/usr/bin/env bash
# Every figure that needs a GPU, in one command:
#
#     bash benchmarks/gpu.sh DATA_DIR OUT_DIR
#
# DATA_DIR holds CIFAR-10 (or receives it), OUT_DIR receives all output. Stopped at any point, the same command goes on:
# finished runs are found in OUT_DIR/runs. Then copy the tables to benchmarks/results/ with the hardware that they name.
set -euo pipefail
cd "$(dirname "$0")/.."
data=$1 out=$2
mkdir -p "$out"
export PYTHONPATH=src
# a plug-in that warns while it starts would stop the run, since warnings are errors
python -m pytest -q -p no:benchmark tests/engine tests/methods/test_replay.py 2>&1 | tee "$out/tests.txt" | tail -3
python benchmarks/startup.py | tee "$out/startup.txt"
# 391 steps of 128: a block is an epoch of CIFAR-10, so that recording its graph weighs as much as in real runs
python benchmarks/step.py --device cuda --batch 128 512 --rounds 10 --steps 391 \
    --images 10000 --pairs 3 --workers 8 | tee "$out/step.txt"
python benchmarks/together.py | tee "$out/together.txt"
python -m natmu bench recipes/paper/cifar10-vgg16.yaml --data-dir "$data" --out "$out/runs" | tee "$out/cifar10-vgg16.txt"
