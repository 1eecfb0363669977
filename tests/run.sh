#!/usr/bin/env bash
# The whole test suite: installs the package with its test extra, checks style, runs pytest.
#   bash tests/run.sh [pytest arguments]
# OMP_CLI_VENV names the environment to use (default .venv).
set -euo pipefail
cd "$(dirname "$0")/.."
source examples/venv.sh
ensure_venv "${OMP_CLI_VENV:-.venv}" "-e .[test]"
export OMP_NUM_THREADS=1
unset OMP_CLI_VENV
ruff check .
ruff format --check .
exec python -m pytest "$@"
