#!/usr/bin/env bash
# A folder of wheels with which omp is installed where there is no network; without torch, which a GPU machine has.
#   bash examples/offline_bundle.sh [--python 3.12] [--machine x86_64] [--out wheels] [--without scipy]...
# The versions are those of the environment that is active, which has to have omp; --without leaves out what is there.
set -euo pipefail

version=3.12 machine=x86_64 out=wheels without=()
usage="usage: bash examples/offline_bundle.sh [--python 3.12] [--machine x86_64] [--out wheels] [--without NAME]..."
while [ $# -gt 0 ]; do
    case "$1" in
        --python) version="${2:?--python needs a version}"; shift 2 ;;
        --machine) machine="${2:?--machine needs x86_64 or aarch64}"; shift 2 ;;
        --out) out="${2:?--out needs a folder}"; shift 2 ;;
        --without) without+=("${2:?--without needs the name of a package}"); shift 2 ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
done
python -c "import omp_cli" 2>/dev/null || { echo "error: no omp in this environment: pip install -e ." >&2; exit 4; }
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/.."

platforms=()
for glibc in $(seq 17 39); do platforms+=(--platform "manylinux_2_${glibc}_$machine"); done
platforms+=(--platform "manylinux2014_$machine" --platform "manylinux1_$machine")

python examples/offline_bundle.py "$version" "$machine" ${without[@]+"${without[@]}"} > "$out/requirements.txt"
python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$out" .
python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --implementation cp \
    --python-version "$version" "${platforms[@]}" --dest "$out" --requirement "$out/requirements.txt"
echo "$(find "$out" -name '*.whl' | wc -l) wheels, $(du -sm "$out" | cut -f 1) MB in $out; on the other machine:"
echo "    pip install --no-index --find-links wheels omp-cli"
