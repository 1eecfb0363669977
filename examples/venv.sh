# Sourced by the scripts: a virtual environment with this package in it, made once and reused.

# ensure_venv DIR REQUIREMENT...: make DIR if needed, install the requirements, activate it.
ensure_venv() {
    local dir=$1 python
    shift
    for python in python3.11 python3.12 python3.13 python3; do
        command -v "$python" >/dev/null && "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' && break
    done || true
    if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then
        echo "omp needs Python 3.11, 3.12 or 3.13" >&2
        exit 4
    fi
    [ -x "$dir/bin/python" ] || "$python" -m venv "$dir"
    # shellcheck disable=SC1091
    source "$dir/bin/activate"
    # shellcheck disable=SC2086 # a requirement may be two words
    echo "installing into $dir (a minute or two the first time)" >&2
    python -m pip install --quiet --disable-pip-version-check $*
}
