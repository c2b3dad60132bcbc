# shellcheck shell=bash
# Sourced by every recipe: strict mode, the Python to run, options, stages, log lines.
# Stops on errors, unset variables and failing pipes; runs one command at a time and stops it when the recipe is stopped.

set -euo pipefail
unset CDPATH # with it, "cd" may go elsewhere and print where
recipe_root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
export FUNRECIPE_ROOT=$recipe_root
# Closed streams are opened on /dev/null: otherwise the next file to be opened would take their place.
{ : 9<&0; } 2> /dev/null || exec < /dev/null
{ : 9>&1; } 2> /dev/null || exec > /dev/null
{ : 9>&2; } 2> /dev/null || exec 2> /dev/null

# Independent of the user's settings: one byte order for every sort, UTF-8 for every Python, no settings of
# Python, and no module taken from the working directory (which an empty entry of PYTHONPATH means, too).
for setting in ${!PYTHON@}; do
  case $setting in PYTHON | PYTHONPATH) ;; *) unset "$setting" ;; esac
done
if [ -z "${PYTHON:-}" ]; then
  PYTHON=python3
  if [ -x "$recipe_root/.venv/bin/python" ]; then
    PYTHON=$recipe_root/.venv/bin/python
    unset PYTHONPATH # it has what it needs
  fi
fi
PYTHONPATH=$recipe_root${PYTHONPATH:+:$PYTHONPATH}
while [[ $PYTHONPATH == *::* ]]; do PYTHONPATH=${PYTHONPATH//::/:}; done
PYTHONPATH=${PYTHONPATH%:}
export LC_ALL=C PYTHONUTF8=1 PYTHONSAFEPATH=1 PYTHONPATH
# shellcheck source=utils/parse_options.sh
source "$recipe_root/utils/parse_options.sh"

log() { printf '%s: %s\n' "${0##*/}" "$*" || exit 5; } # 5: cannot write

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
  command -v "$PYTHON" > /dev/null || die "no Python '$PYTHON': run bash tools/setup.sh, or set PYTHON to another"
  FUNRECIPE_PARENT=$shell "$PYTHON" "$@" & # commands that check it end when this shell is killed outright
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

# only_run_in FOLDER: from here to the end no other run may work in FOLDER, which is created. The commands of the recipe inherit
# the lock (funrecipe/processes.py). A folder that was created here and stays empty is removed.
only_run_in() {
  if [ ! -d "$1" ]; then
    recipe_made=$1
    trap 'rm -f -- "$recipe_made/.lock" "$recipe_made/.lease"; rmdir -- "$recipe_made" 2> /dev/null || true' EXIT
  fi
  { mkdir -p -- "$1" && exec {recipe_lock}>> "$1/.lock"; } || die "cannot write in '$1': choose another --output_dir" 5
  export FUNRECIPE_LOCK_FD=$recipe_lock
  run_python -m funrecipe.processes "$1"
}

# digest_of PLAN: prints the digest of the plan; nothing if there is none.
digest_of() {
  if [ -f "$1" ] && [[ $(< "$1") =~ \"digest\":\ \"([0-9a-f]+)\" ]]; then printf '%s' "${BASH_REMATCH[1]}"; fi
}

# given NAME ...: puts "--NAME=value" into the array "flags" for each option that is not empty.
given() {
  local name
  flags=()
  for name in "$@"; do
    if [ -n "${!name}" ]; then flags+=("--$name=${!name}"); fi
  done
}

# asked NAME ...: the same for each option that the user gave, whatever its value.
asked() {
  local name
  flags=()
  for name in "$@"; do
    if [ -n "${option_given[$name]:-}" ]; then flags+=("--$name=${!name}"); fi
  done
}

# write_file TARGET COMMAND ...: what the command prints, as a file that is whole or as it was before.
write_file() {
  local target=$1
  shift
  { mkdir -p -- "${target%/*}" && "$@" > "$target.new" && mv -fT -- "$target.new" "$target"; } || die "cannot write '$target'" 5
}
