#!/usr/bin/env bash
# One table of what a GPU can do with omp, on a machine without a network.
#   bash examples/gpu_check.sh [--minutes 10] [--device cpu] [--small] [--folder DIR]
# Uses the environment that is active, if omp is installed there; else what examples/offline_bundle.sh made, beside the
# repository or in it: a folder "wheels", installed into .venv-gpu on top of the torch that the machine has, or
# "site.tar.xz", unpacked into .venv-packed and used from there.
set -euo pipefail
here=$(pwd)
cd "$(dirname "$0")/.."
root=$(pwd)

python=python
command -v python >/dev/null || python=python3

# Not from this folder: the checkout alone would be taken for an omp that has what it needs.
has_omp() { "$python" -P -c "import omp_cli.core.base.run, metaworld, torch, zarr" 2>/dev/null; }

found() { # the name of a file or folder in the repository or beside it; nothing where there is none
    local place
    for place in . ..; do
        if [ -e "$place/$1" ]; then (cd "$place" && echo "$(pwd)/$1"); return; fi
    done
}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: omp needs Python 3.11 or newer, and $python is older" >&2
    exit 4
fi
if ! has_omp; then
    wheels=$(found wheels) site=$(found site.tar.xz)
    if ! "$python" -P -c "import torch" 2>/dev/null; then
        echo "error: no torch in this environment, which examples/offline_bundle.sh leaves out" >&2
        exit 4
    elif [ -n "$wheels" ]; then
        "$python" -m venv --system-site-packages .venv-gpu
        # Where the environment is a virtual one itself, "system" does not mean it, and it has torch.
        where='import sysconfig; print(sysconfig.get_path("purelib"))'
        outer=$("$python" -c "$where")
        python=$root/.venv-gpu/bin/python
        echo "$outer" > "$("$python" -c "$where")/outer.pth"
        "$python" -m pip install --quiet --no-index --find-links "$wheels" "omp-cli[gpu]" pytest pytest-timeout
    elif [ -n "$site" ]; then
        if [ ! .venv-packed/unpacked -nt "$site" ]; then
            rm -rf .venv-packed
            "$python" -m tarfile -e "$site" .venv-packed
            touch .venv-packed/unpacked
        fi
        export PYTHONPATH="$root/.venv-packed${PYTHONPATH:+:$PYTHONPATH}"
    else
        echo "error: no omp in this environment, and no folder wheels or file site.tar.xz: examples/offline_bundle.sh" \
            "makes either" >&2
        exit 4
    fi
    if ! has_omp; then
        echo "error: what ${wheels:-$site} brought does not fit $("$python" --version):" >&2
        "$python" -P -c "import omp_cli.core.base.run, metaworld, torch, zarr" 2>&1 | tail -n 1 >&2 || true
        exit 4
    fi
fi
cd "$here"
exec "$python" "$root/examples/gpu_check.py" "$@"
