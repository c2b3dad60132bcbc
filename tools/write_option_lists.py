"""Write the option lists of the recipes from the tables of the library: ``python -m tools.write_option_lists``.

``utils/decode_options.sh`` declares every decode option of ``funrecipe.decode.options``. A test holds the file equal to
what this makes.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from funrecipe.decode.options import OPTIONS, help_of

UTILS = Path(__file__).resolve().parents[1] / "utils"
HEADER = """# shellcheck shell=bash
# Written by tools/write_option_lists.py from {source}; do not edit.
"""


def decode_options() -> str:
    """One ``declare_option`` a decode option, and the array ``decoding`` of their names."""
    lines = []
    for name, row in OPTIONS.items():
        kinds = {bool: "true|false", int: "count" if row.low >= 0 else "integer"}
        kind = "|".join(row.choices) or kinds.get(row.kind)
        words = ["declare_option", row.flag or name, '""', shlex.quote(help_of(name))]
        lines.append(" ".join([*words, shlex.quote(kind)] if kind else words))
    names = " ".join(row.flag or name for name, row in OPTIONS.items())
    lines += ["# shellcheck disable=SC2034  # read by the recipe", f"decoding=({names})"]
    return HEADER.format(source="funrecipe/decode/options.py") + "\n".join(lines) + "\n"


def main() -> None:
    (UTILS / "decode_options.sh").write_text(decode_options(), encoding="utf-8")


if __name__ == "__main__":
    main()
