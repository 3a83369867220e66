#!/bin/sh
# Run benchmarks/gpu.py with what is there: the wheels that `make gpu-wheels` collected, laid before the machine's own
# Python packages, or else the environment that `make` set up. Arguments go to gpu.py.
set -eu
cd "$(dirname "$0")/.."
if [ -d wheels ]; then
    site=${TMPDIR:-/tmp}/genlip-wheels
    python3 -m pip install --quiet --no-index --no-deps --no-cache-dir --upgrade --target "$site" wheels/*.whl
    PYTHONPATH=$PWD/src:$site exec python3 benchmarks/gpu.py "$@"
fi
exec .venv/bin/python benchmarks/gpu.py "$@"
