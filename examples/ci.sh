#!/usr/bin/env bash
# The three lines of the card, as a CI job would call them, and how a script reads their results.
#   bash examples/ci.sh FOLDER      (omp must be installed; works in FOLDER)
set -euo pipefail
mkdir -p "${1:?usage: bash examples/ci.sh FOLDER}"
cd "$1"

omp prepare metaworld --points 512
omp pretrain --derivative dde
omp eval --json > eval.json

python - <<'PYTHON'
import json
import sys

result = json.load(open("eval.json"))["result"]
rate = result["success_any"]
print(f"{result['task']}: {rate['successes']}/{rate['episodes']}, 95 % interval {rate['low']} .. {rate['high']}")
sys.exit(rate["rate"] < 0.9)
PYTHON
