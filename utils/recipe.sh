# shellcheck shell=bash
# What every recipe sources: strict mode, the Python to run, options, stages, a log line.
# Stops on errors, unset variables and failing pipes; runs one command at a time and ends it when the recipe is ended.

set -euo pipefail
recipe_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# One order of bytes for every sort, UTF-8 for every Python, whatever the user's locale.
export LC_ALL=C PYTHONUTF8=1
export PYTHONPATH="$recipe_root${PYTHONPATH:+:$PYTHONPATH}"
if [ -z "${PYTHON:-}" ]; then
  PYTHON=python3
  if [ -x "$recipe_root/.venv/bin/python" ]; then PYTHON=$recipe_root/.venv/bin/python; fi
fi
# shellcheck source=utils/parse_options.sh
source "$recipe_root/utils/parse_options.sh"

log() { printf '%s: %s\n' "${0##*/}" "$*"; }

die() {
  log "$1" >&2
  exit "${2:-2}"
}

# stage N: true if stage N is to be run ($stage and $stop_stage are options of the recipe).
# shellcheck disable=SC2154
stage() { [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ]; }

# run_python ARGUMENT ...: the command runs in the background and the shell waits for it, so that a signal sent to the
# recipe alone is passed on at once; bash would otherwise hold it back until the command has ended.
recipe_child=
run_python() {
  local code=0
  local shell=$BASHPID
  command -v "$PYTHON" > /dev/null || die "there is no Python '$PYTHON': bash tools/setup.sh makes one, or set PYTHON to another"
  FUNRECIPE_PARENT=$shell "$PYTHON" "$@" & # a command that looks at it ends when this shell is killed outright
  recipe_child=$!
  wait "$recipe_child" || code=$?
  recipe_child=
  return "$code"
}

# funrecipe VERB [OPTION ...]
funrecipe() { run_python -m funrecipe "$@"; }

# shellcheck disable=SC2329  # called by the traps below
_end_recipe() {
  trap '' INT TERM HUP
  if [ -n "$recipe_child" ]; then
    kill -TERM "$recipe_child" 2>/dev/null || true
    wait "$recipe_child" 2>/dev/null || true
  fi
  log "stopped by $1" >&2
  exit 130
}
trap '_end_recipe SIGINT' INT
trap '_end_recipe SIGTERM' TERM
trap '_end_recipe SIGHUP' HUP

# given NAME ...: puts "--NAME value" into the array "flags" for each option that is not empty.
given() {
  local name
  flags=()
  for name in "$@"; do
    if [ -n "${!name}" ]; then flags+=("--$name" "${!name}"); fi
  done
}
