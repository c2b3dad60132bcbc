"""Run benchmarks and put their tables into docs/speed.md, between ``<!-- NAME -->`` and ``<!-- end -->``.

    .venv/bin/python -m tools.bench.write_tables [--peer_python OTHER_VENV/bin/python] offline streaming train recipe \\
        "lists --sizes 1000000"

Every table says on what machine it was measured. A benchmark whose results differ changes nothing and ends the run.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import time

from tools.bench.sides import ROOT

PAGE = ROOT / "docs/speed.md"
BESIDE_A_PEER = ("offline", "streaming", "train", "gpu")
NAMES = (*BESIDE_A_PEER, "recipe", "lists")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer_python", help="Python of an environment with FunASR")
    parser.add_argument("names", nargs="+", help=f"of {', '.join(NAMES)}; options of one may follow it in quotes")
    args = parser.parse_args()
    for wanted in args.names:
        name, _, options = wanted.partition(" ")
        if name not in NAMES:
            parser.error(f"{name} is not one of {', '.join(NAMES)}")
        command = [sys.executable, "-m", f"tools.bench.{'gpu_check' if name == 'gpu' else f'bench_{name}'}"]
        command += shlex.split(options)
        if args.peer_python and name in BESIDE_A_PEER:
            command.append(f"--peer_python={args.peer_python}")
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False)
        if done.returncode > (name == "gpu"):  # its table has a column for what failed
            sys.exit(f"write_tables: {command[2]} ended with {done.returncode}:\n{done.stdout}")
        put(name, f"{time.strftime('%-d %B %Y')}: {done.stdout.strip()}")
    return 0


def put(name: str, text: str) -> None:
    """Replace what stands between the marks of ``name``."""
    page = PAGE.read_text(encoding="utf-8")
    marks = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
    if not marks.search(page):
        sys.exit(f"write_tables: {PAGE} has no <!-- {name} -->")
    PAGE.write_text(marks.sub(lambda found: f"{found[1]}{text}{found[2]}", page), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
