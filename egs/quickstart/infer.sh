#!/usr/bin/env bash
# First run: set up, decode 40 real Mandarin utterances with the embedded model, print the CER.
# bash egs/quickstart/infer.sh [options of egs/asr/infer.sh]
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # started with sh
set -euo pipefail
unset CDPATH # "cd" would go elsewhere, and say where
here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
[ -n "${PYTHON:-}" ] || bash "$here/../../tools/setup.sh"
exec bash "$here/../asr/infer.sh" --model "$here/model" --data_dir "$here/data" --output_dir "$here/results" --njob 2 "$@"
