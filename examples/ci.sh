#!/usr/bin/env bash
# omp in a CI job: demonstrations, a policy, its success and its latency, and how a script reads the results.
#   bash examples/ci.sh FOLDER      (omp must be installed; works in FOLDER)
set -euo pipefail
mkdir -p "${1:?usage: bash examples/ci.sh FOLDER}"
cd "$1"

omp prepare metaworld --points 512
omp pretrain --derivative dde
omp bench-latency --nfe 1 --json > latency.json
omp eval --json > eval.json

python - <<'PYTHON'
import json
import sys

for row in json.load(open("latency.json"))["result"]["rows"]:
    if row["ms"]:
        print(f"{row['backend']}: {row['ms']['p50']:.2f} ms median, {row['ms']['hz']:.0f} Hz")
result = json.load(open("eval.json"))["result"]
rate = result["success_any"]
print(f"{result['task']}: {rate['successes']}/{rate['episodes']}, 95 % interval {rate['low']} .. {rate['high']}")
sys.exit(rate["rate"] < 0.9)
PYTHON
