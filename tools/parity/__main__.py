"""Run the golden cases of a folder: ``python -m tools.parity DIR [CASE ...]``."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

import tools.parity
from tools.parity.case import Case


def all_checks() -> dict[str, Callable[[Case], None]]:
    """Case name -> check, gathered from ``CASES`` of every module of this package.

    A case that several modules name (decoding here, training there) runs all their checks.
    """
    parts: dict[str, list[Callable[[Case], None]]] = {}
    for module in pkgutil.iter_modules(tools.parity.__path__):
        if not module.name.startswith("_") and module.name != "case":
            for name, check in getattr(importlib.import_module(f"tools.parity.{module.name}"), "CASES", {}).items():
                parts.setdefault(name, []).append(check)
    return {name: in_turn(checks) for name, checks in parts.items()}


def in_turn(checks: list[Callable[[Case], None]]) -> Callable[[Case], None]:
    def check(case: Case) -> None:
        for part in checks:
            part(case)

    return check


def find_check(name: str, checks: dict[str, Callable[[Case], None]]) -> Callable[[Case], None] | None:
    """The check of the case ``name``; ``paraformer_seed7`` or ``paraformer.2`` finds the one of ``paraformer``."""
    fitting = [known for known in checks if name.startswith(known) and not name[len(known) :][:1].isalnum()]
    return checks[max(fitting, key=len)] if fitting else None


def run_case(path: Path, data_root: Path, checks: dict[str, Callable[[Case], None]], *, implemented_only: bool) -> bool:
    """Run one case, print its arrays, and say whether it passed."""
    check = find_check(path.name, checks)
    if check and not (path / "io.npz").is_file():
        print(f"FAIL {path.name}: there is no io.npz")
        return False
    if check is None:
        print(f"{'skip' if implemented_only else 'FAIL'} {path.name}: this kind of case is not implemented")
        return implemented_only
    try:
        case = Case(path, data_root)
        with torch.inference_mode():
            check(case)
    except Exception as error:  # a crash is a failed case, and the other cases still run
        traceback.print_exc()
        print(f"FAIL {path.name}: {type(error).__name__}: {error}")
        return False
    for key, difference, tolerance, passed, note in case.rows:
        remark = f"  ({note})" if note else ""
        print(f"  {'ok  ' if passed else 'FAIL'} {key}  max|d|={difference:.3g}  tol={tolerance:g}{remark}")
    missing = case.unimplemented()
    for key in missing:
        print(f"  {'skip' if implemented_only else 'FAIL'} {key}  not implemented")
    compared = [row for row in case.rows if not row[4].startswith("not compared")]
    passed = all(row[3] for row in case.rows) and bool(compared) and (implemented_only or not missing)
    worst = max((row[1] for row in compared), default=float("nan"))
    wrong = sum(not row[3] for row in case.rows)
    counts = f"{len(compared)} arrays compared, largest difference {worst:.3g}, {wrong} wrong"
    print(f"{'pass' if passed else 'FAIL'} {path.name}: {counts}, {len(missing)} not implemented")
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(prog="check_parity.sh", description=__doc__)
    parser.add_argument("dir", type=Path)
    parser.add_argument("cases", nargs="*", help="case names; all when left out")
    parser.add_argument("--implemented", action="store_true", help="do not count what is not implemented as a failure")
    parser.add_argument("--data_root", type=Path, help="folder that holds data/models/ (default: two above DIR)")
    args = parser.parse_args()
    folder = args.dir.resolve()
    if not folder.is_dir():
        parser.error(f"no such folder: {args.dir}")
    # A folder that has lost its io.npz is a case that fails, not one that is not there.
    names = args.cases or sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] not in "._")
    if not names:
        parser.error(f"{args.dir} holds no case (a case is a folder with io.npz)")
    unknown = [name for name in names if not (folder / name).is_dir()]
    if unknown:
        parser.error(f"no such case in {args.dir}: {', '.join(unknown)}")
    torch.set_num_threads(1)
    checks = all_checks()
    data_root = (args.data_root or folder.parent.parent).resolve()
    failed = [n for n in names if not run_case(folder / n, data_root, checks, implemented_only=args.implemented)]
    which = f"; failed: {', '.join(failed)}" if failed else ""
    print(f"{len(names) - len(failed)} of {len(names)} cases passed{which}")
    return 1 if failed else 0


if __name__ == "__main__":
    # The vectors come from CPUs on which MKL takes this path. On Intel's it takes another, and the last bits of a
    # Fourier transform show in the log-mels of quiet frames: eight times the tolerances further on. MKL reads it when
    # it is first used.
    os.environ.setdefault("MKL_CBWR", "COMPATIBLE")
    sys.exit(main())
