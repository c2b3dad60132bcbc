#!/usr/bin/env python3
"""compute_wer.py REF HYP OUT: the old command line of stage 2, on top of `funrecipe score`.

Tokens are what spaces separate. References without a hypothesis are deletions; --missing present leaves them out.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from repository_python import use_repository_python  # noqa: E402

use_repository_python("rapidfuzz")

from funrecipe.cli import main  # noqa: E402


def old_command_line() -> list[str]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ref")
    parser.add_argument("hyp")
    parser.add_argument("out")
    parser.add_argument("--tokens", default="word")
    parser.add_argument("--missing", default="strict")
    args = parser.parse_args()
    return [
        "score",
        f"--ref={args.ref}",
        f"--hyp={args.hyp}",
        f"--out={args.out}",
        f"--tokens={args.tokens}",
        f"--missing={args.missing}",
        "--detail=split",
    ]


if __name__ == "__main__":
    sys.exit(main(old_command_line()))
