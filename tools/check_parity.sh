#!/usr/bin/env bash
# Compare funrecipe with golden vectors: tools/check_parity.sh DIR [CASE ...] [--implemented] [--data_root ROOT]
# Exit 0 when every array agrees, 1 when one does not (or is not implemented), 2 on wrong usage.
set -euo pipefail
unset CDPATH # "cd" would go elsewhere, and say where
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$(command -v "$python")" ] || python=python3
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m tools.parity "$@"
