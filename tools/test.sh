#!/usr/bin/env bash
# Set up (if needed) and run the whole test suite: tools/test.sh [pytest arguments].
set -euo pipefail
unset CDPATH # "cd" would go elsewhere, and say where
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
bash tools/setup.sh --dev
# One test process per core with one thread each: torch jobs that share cores run several times slower, not twice.
cores=$(env -u OMP_NUM_THREADS nproc)  # nproc would answer with OMP_NUM_THREADS
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
exec .venv/bin/python -m pytest -q -n "$cores" --dist worksteal "$@"
