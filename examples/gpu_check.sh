#!/usr/bin/env bash
# One table of what a GPU can do with omp, on a machine without a network.
#   bash examples/gpu_check.sh [--minutes 10] [--device cpu] [--small] [--folder DIR]
# Uses the environment that is active, if it has omp; else a folder "wheels" beside the repository or in it
# (examples/offline_bundle.sh), installed into .venv-gpu on top of the torch that the machine has.
set -euo pipefail
here=$(pwd)
cd "$(dirname "$0")/.."
root=$(pwd)

python=python
command -v python >/dev/null || python=python3
if ! "$python" -c "import omp_cli" 2>/dev/null; then
    wheels=
    for folder in wheels ../wheels; do
        if [ -d "$folder" ]; then wheels=$folder; fi
    done
    if [ -z "$wheels" ]; then
        echo "error: no omp in this environment and no folder wheels: make one with examples/offline_bundle.sh" >&2
        exit 4
    fi
    "$python" -m venv --system-site-packages .venv-gpu
    python=$root/.venv-gpu/bin/python
    "$python" -m pip install --quiet --no-index --find-links "$wheels" omp-cli pytest pytest-timeout
fi
cd "$here"
exec "$python" "$root/examples/gpu_check.py" "$@"
