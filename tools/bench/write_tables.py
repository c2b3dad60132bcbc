"""Run benchmarks and put their tables into docs/speed.md, between ``<!-- NAME -->`` and ``<!-- end -->``.

    .venv/bin/python -m tools.bench.write_tables [--peer_python OTHER_VENV/bin/python] offline streaming train recipe

Every table says on what machine it was measured. A benchmark whose results differ changes nothing and ends the run.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time

from tools.bench.sides import ROOT

PAGE = ROOT / "docs/speed.md"
BESIDE_A_PEER = ("offline", "streaming", "train")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer_python", help="Python of an environment with FunASR")
    parser.add_argument("names", nargs="+", choices=(*BESIDE_A_PEER, "recipe", "lists"))
    args = parser.parse_args()
    for name in args.names:
        command = [sys.executable, "-m", f"tools.bench.bench_{name}"]
        if args.peer_python and name in BESIDE_A_PEER:
            command.append(f"--peer_python={args.peer_python}")
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False)
        if done.returncode:
            sys.exit(f"write_tables: bench_{name} ended with {done.returncode}:\n{done.stdout}")
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
