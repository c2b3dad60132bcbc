#!/usr/bin/env bash
# Lint, shell lint and types; no tests.
set -euo pipefail
unset CDPATH # "cd" would go elsewhere, and say where
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
bash tools/setup.sh --dev
.venv/bin/ruff check .
.venv/bin/ruff format --check .
# Types are checked where no torch is imported: lists, jobs, scoring, text.
.venv/bin/mypy funrecipe/{errors,cli,zoo,network}.py funrecipe/hub*.py funrecipe/model_folder*.py funrecipe/audio/{io,resample}.py \
  funrecipe/decode/options.py funrecipe/{data,jobs,score,text}
mapfile -t scripts < <(git ls-files '*.sh' '.ci/run')
.venv/bin/shellcheck -x "${scripts[@]}"
echo "check.sh: clean"
