#!/usr/bin/env bash
# Set up (if needed) and run the whole test suite: tools/test.sh [pytest arguments].
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
bash tools/setup.sh --dev
# One thread for each of two test processes: torch jobs that share cores run several times slower, not twice.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
exec .venv/bin/python -m pytest -q -n "$(nproc)" --dist worksteal "$@"
