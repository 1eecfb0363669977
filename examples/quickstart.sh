#!/usr/bin/env bash
# A policy from nothing: installs into .venv, records demonstrations, trains, evaluates. No GPU, no display.
#   bash examples/quickstart.sh [--task assembly]
set -euo pipefail
cd "$(dirname "$0")/.."

task=assembly
while [ $# -gt 0 ]; do
    case "$1" in
        --task) task="${2:?--task needs a name}"; shift 2 ;;
        *) echo "usage: bash examples/quickstart.sh [--task NAME]" >&2; exit 2 ;;
    esac
done

source examples/venv.sh
begin=$SECONDS
ensure_venv .venv "-e ."
installed=$SECONDS

omp prepare metaworld --task "$task" --points 256 --spread 10 --out "data/quickstart/$task"
prepared=$SECONDS
run="runs/quickstart/$task-$(date +%Y%m%d-%H%M%S)"
omp pretrain "data/quickstart/$task" --derivative dde --out "$run"
trained=$SECONDS
omp eval "$run" --nfe 1 --episodes 50 --curve 8 --video --out "$run/eval"

echo
echo "wall time: install $((installed - begin)) s, prepare $((prepared - installed)) s," \
    "pretrain $((trained - prepared)) s, eval $((SECONDS - trained)) s, in all $((SECONDS - begin)) s"
echo "data       data/quickstart/$task/contact_sheet.png"
echo "plot       $run/eval/success.png"
echo "video      $run/eval/video.mp4"
echo "manifest   $run/eval/manifest.json"
