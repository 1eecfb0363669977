#!/usr/bin/env bash
# The whole test suite: installs the package with its test and robomimic extras, checks style and types, runs pytest.
#   bash tests/run.sh [pytest arguments]
# OMP_CLI_VENV names the environment to use (default .venv).
set -euo pipefail
cd "$(dirname "$0")/.."
source examples/venv.sh
ensure_venv "${OMP_CLI_VENV:-.venv}" "-e .[test]"
# Parts of robosuite's and robomimic's requirements are compiled: where that fails, their tests are skipped and named.
python -m pip install --quiet --disable-pip-version-check -e '.[robomimic]' ||
    echo "the extra robomimic does not install here; its tests are skipped" >&2
# openpi-client asks for NumPy 1, and works with 2.
python -m pip install --quiet --disable-pip-version-check --no-deps 'openpi-client>=0.1.2,<0.2' ||
    echo "openpi-client does not install here; its test is skipped" >&2
# ROS 2's own client in an environment of its own, as on a robot: wheels that its community builds for Linux on x86-64.
python -m venv "$VIRTUAL_ENV/ros2" && "$VIRTUAL_ENV/ros2/bin/python" -m pip install --quiet --disable-pip-version-check \
    'ros-rclpy[fastrtps]>=9.1,<10' 'ros-geometry-msgs>=5.5,<6' 'ros-sensor-msgs>=5.5,<6' ||
    echo "rclpy does not install here; the tests on ROS 2's own graph are skipped" >&2
export OMP_NUM_THREADS=1
# Images of containers set it; without compiled files each of the suite's hundred processes compiles omp once more.
unset PYTHONDONTWRITEBYTECODE
unset OMP_CLI_VENV
ruff check .
ruff format --check .
mypy
# Two processes, each with whole files: the tests of a file share what it makes.
exec python -m pytest -n 2 --dist loadfile "$@"
