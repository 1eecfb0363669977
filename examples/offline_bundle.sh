#!/usr/bin/env bash
# What installs omp where there is no network; without torch, which a GPU machine has.
#   bash examples/offline_bundle.sh [--python 3.12] [--machine x86_64] [--out wheels] [--without scipy]... [--packed]
# A folder of wheels; with --packed one file, site.tar.xz, which is unpacked and put on PYTHONPATH: a third of the size,
# for it has nothing that makes videos, tests packages or debugs them. gpu_check.sh finds either by itself.
# The versions are those of the environment that is active, which has to have omp; --without leaves out what is there.
set -euo pipefail

version=3.12 machine=x86_64 out="" packed="" without=()
usage="usage: bash examples/offline_bundle.sh [--python 3.12] [--machine x86_64] [--out PATH] [--without NAME]... [--packed]"
while [ $# -gt 0 ]; do
    case "$1" in
        --python) version="${2:?--python needs a version}"; shift 2 ;;
        --machine) machine="${2:?--machine needs x86_64 or aarch64}"; shift 2 ;;
        --out) out="${2:?--out needs a folder, and with --packed a file}"; shift 2 ;;
        --without) without+=("${2:?--without needs the name of a package}"); shift 2 ;;
        --packed) packed=yes; shift ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
done
python -c "import omp_cli" 2>/dev/null || { echo "error: no omp in this environment: pip install -e ." >&2; exit 4; }
if [ -n "$packed" ]; then
    out=${out:-site.tar.xz}
    case "$out" in *.tar.xz) ;; *) echo "error: --out $out: with --packed it is a file *.tar.xz" >&2; exit 2 ;; esac
    mkdir -p "$(dirname "$out")"
    archive=$(cd "$(dirname "$out")" && pwd)/$(basename "$out")
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    wheels=$scratch/wheels
    without+=(imageio-ffmpeg) # 68 MB, for videos alone
    mkdir "$wheels"
else
    mkdir -p "${out:=wheels}"
    wheels=$(cd "$out" && pwd)
fi
cd "$(dirname "$0")/.."

chosen=(--only-binary=:all: --implementation cp --python-version "$version")
for glibc in $(seq 17 39); do chosen+=(--platform "manylinux_2_${glibc}_$machine"); done
chosen+=(--platform "manylinux2014_$machine" --platform "manylinux1_$machine")
pip=(python -m pip --quiet --disable-pip-version-check)

python examples/offline_bundle.py "$version" "$machine" ${without[@]+"${without[@]}"} > "$wheels/requirements.txt"
"${pip[@]}" wheel --no-deps --wheel-dir "$wheels" .
"${pip[@]}" download --no-deps "${chosen[@]}" --dest "$wheels" --requirement "$wheels/requirements.txt"
if [ -n "$packed" ]; then
    "${pip[@]}" install --no-deps --no-compile "${chosen[@]}" --target "$scratch/site" "$wheels"/*.whl
    python examples/offline_bundle.py --pack "$scratch/site" "$archive"
    echo "lay it into the repository or beside it on the other machine; gpu_check.sh unpacks it, for Python $version"
else
    echo "$(find "$wheels" -name '*.whl' | wc -l) wheels, $(du -sm "$wheels" | cut -f 1) MB in $wheels; on the other machine:"
    echo "    pip install --no-index --find-links wheels 'omp-cli[gpu]'"
fi
