#!/bin/sh
# Collect, as wheels, the pure and small packages that genlip needs and that a machine with PyTorch often lacks.
#
#     benchmarks/gpu_wheels.sh [PYTHON-VERSION] [PACKAGE ...]
#
# PYTHON-VERSION is the GPU machine's (default: 3.12); name further packages that it lacks, each with its own needs.
set -eu
cd "$(dirname "$0")/.."
version=${1:-3.12}
[ $# -gt 0 ] && shift
python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python
rm -rf wheels
for package in simplejpeg jsonargparse docstring-parser rich markdown-it-py mdurl pygments "$@"; do
    "$python" -m pip download --quiet --no-deps --only-binary=:all: --implementation cp --python-version "$version" \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
        --platform manylinux2014_x86_64 --platform manylinux1_x86_64 --dest wheels "$package"
done
ls -l wheels
