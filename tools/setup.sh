#!/usr/bin/env bash
# Make .venv with the pinned requirements: tools/setup.sh [--dev]. Idempotent: seconds when nothing changed.
# --dev adds what the tests need; as root on Debian also chromium, sctk and Slurm, whose tests are skipped where they are not.
# $FUNRECIPE_PYTHON names the Python to build the environment with (default python3).
set -euo pipefail
unset CDPATH # "cd" would go elsewhere, and say where
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

command -v "$base_python" > /dev/null || {
  echo "setup.sh: there is no Python '$base_python'; install python3, or set FUNRECIPE_PYTHON to one" >&2; exit 2; }
"$base_python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "setup.sh: $base_python is older than Python 3.11, which the pinned requirements take; set FUNRECIPE_PYTHON to a newer one" >&2; exit 2; }
stamp=.venv/.funrecipe-$name
wanted=$(cat "${files[@]}" setup.py | sha256sum)
if [ -x .venv/bin/python ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  exit 0
fi

# Whatever cannot be had is said, not fatal.
install_debian_packages() {
  local package install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends)
  if [ $# -eq 0 ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then return; fi
  echo "setup.sh: apt-get install $*"
  apt-get update -qq > /dev/null 2>&1 || true
  if "${install[@]}" "$@" > /dev/null 2>&1; then return; fi
  for package; do
    "${install[@]}" "$package" > /dev/null 2>&1 ||
      echo "setup.sh: could not install $package; the tests that need it are skipped" >&2
  done
}
if [ "$name" = dev ]; then
  # To make .venv at all; then, while pip installs, what the tests need: a browser, NIST's scorer, clusters.
  [ -x .venv/bin/python ] || "$base_python" -c 'import ensurepip' 2>/dev/null || install_debian_packages python3-venv
  missing=()
  command -v chromium > /dev/null || missing+=(chromium)
  [ -x /usr/lib/sctk/bin/sclite ] || missing+=(sctk)
  command -v slurmctld > /dev/null || missing+=(slurmctld slurmd slurm-client munge iproute2)
  command -v sge_qmaster > /dev/null || missing+=(gridengine-master gridengine-exec gridengine-client)
  install_debian_packages "${missing[@]}" &
  trap wait EXIT
fi

echo "setup.sh: installing the $name requirements into $root/.venv (a minute or two the first time)"
# An environment without a working pip is one whose making was interrupted.
.venv/bin/python -m pip --version > /dev/null 2>&1 || "$base_python" -m venv --clear .venv || {
  echo "setup.sh: could not make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 2; }
for file in "${files[@]}"; do
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$file" || {
    echo "setup.sh: could not install what $file lists (see above). It takes a connection to a package index, or pip's own" \
      "settings for a mirror, and room on the disk; the same command goes on" >&2; exit 1; }
done
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . 2>/dev/null ||
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
wait # for apt
printf '%s\n' "$wanted" > "$stamp"
echo "setup.sh: done"
