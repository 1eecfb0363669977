#!/usr/bin/env bash
# The papers' settings (256 M parameters, 1000 epochs) on their 34 Meta-World tasks, three seeds. Needs a GPU.
#   bash examples/paper_runs.sh [omp-paper|mp1-paper]
set -euo pipefail
preset="${1:-omp-paper}"
omp prepare metaworld --suite mw34 --points 512 --demos 10 --robot shown --fovea 1 --out data/papers
for data in data/papers/*-p512-d10-s0*; do
    for seed in 0 10 20; do
        run="runs/$preset/$(basename "$data")-seed$seed"
        omp pretrain "$data" --preset "$preset" --seed "$seed" --out "$run"
        omp eval "$run" --episodes 50 --out "$run/eval"
    done
done
