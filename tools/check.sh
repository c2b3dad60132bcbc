#!/usr/bin/env bash
# Lint, shell lint and types; no tests.
set -euo pipefail
unset CDPATH # "cd" would go elsewhere, and say where
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
bash tools/setup.sh --dev
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy funrecipe
mapfile -t scripts < <(git ls-files '*.sh' '.ci/run')
.venv/bin/shellcheck -x "${scripts[@]}"
echo "check.sh: clean"
