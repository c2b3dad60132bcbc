#!/usr/bin/env bash
# Make .venv with the pinned requirements: tools/setup.sh [--dev]. Idempotent: seconds when nothing changed.
# --dev adds what the tests need. $FUNRECIPE_PYTHON names the Python to build the environment with (default python3).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
base_python=${FUNRECIPE_PYTHON:-python3}
files=(requirements.txt)
name=runtime
case "${1:-}" in
  "") ;;
  --dev) files+=(tests/requirements.txt); name=dev ;;
  *) echo "setup.sh: unknown option '$1' (there is only --dev)" >&2; exit 2 ;;
esac

"$base_python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
  echo "setup.sh: $base_python is older than Python 3.10; set FUNRECIPE_PYTHON to a newer one" >&2; exit 2; }
stamp=.venv/.funrecipe-$name
wanted=$(cat "${files[@]}" setup.py | sha256sum)
if [ -x .venv/bin/python ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  exit 0
fi
echo "setup.sh: installing the $name requirements into $root/.venv (a minute or two the first time)"
# An environment without a working pip is one whose making was interrupted.
.venv/bin/python -m pip --version > /dev/null 2>&1 || "$base_python" -m venv --clear .venv || {
  echo "setup.sh: could not make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 2; }
for file in "${files[@]}"; do
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$file"
done
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . 2>/dev/null ||
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
printf '%s\n' "$wanted" > "$stamp"
echo "setup.sh: done"
