"""Write the option lists of the recipes from the tables of the library: ``python -m tools.write_option_lists``.

``utils/decode_options.sh`` declares every decode option of ``funrecipe.decode.options``, ``utils/train_settings.sh``
every setting of ``funrecipe.train.options``. Tests compare the files with what this makes.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from funrecipe.decode.options import OPTIONS, help_of
from funrecipe.train.options import DEFAULTS, KNOWN, NOT_FROM_FILES, as_text

UTILS = Path(__file__).resolve().parents[1] / "utils"
HEADER = """# shellcheck shell=bash
# Written by tools/write_option_lists.py from {source}; do not edit.
"""
# Settings of training that a recipe declares itself, or that fine-tuning does not need.
OF_RECIPES = ("model", "config", "token_list", "cmvn_file", "pretrained", "data_dir", "output_dir", "num_gpus")
DECLARE_SETTING = """settings=()
# declare_setting NAME DEFAULT HELP. Empty, it is left to finetune.yaml and config.yaml of the model ("from the model").
declare_setting() {
  settings+=("$1")
  declare_option "$1" "" "$3"
  # shellcheck disable=SC2034  # read by parse_options.sh
  option_default_text[$1]=$2
}
"""


def decode_options() -> str:
    """One ``declare_option`` a decode option, and the array ``decoding`` of their names."""
    lines = []
    for name, row in OPTIONS.items():
        kinds = {bool: "true|false", int: "count" if row.range.low >= 0 else "integer"}
        kind = "|".join(row.choices) or kinds.get(row.kind)
        words = ["declare_option", row.flag or name, '""', shlex.quote(help_of(name))]
        lines.append(" ".join([*words, shlex.quote(kind)] if kind else words))
    names = " ".join(row.flag or name for name, row in OPTIONS.items())
    lines += ["# shellcheck disable=SC2034  # read by the recipe", f"decoding=({names})"]
    return HEADER.format(source="funrecipe/decode/options.py") + "\n".join(lines) + "\n"


def default_text(name: str) -> str:
    """What applies where a setting is not given."""
    default = as_text(getattr(DEFAULTS, name))
    return default if name in NOT_FROM_FILES else f"from the model, else {default}"


def train_settings() -> str:
    """One ``declare_setting`` for each setting of training, and the array ``settings`` of their names."""
    lines = [
        f"declare_setting {name} {shlex.quote(default_text(name))} {shlex.quote(f.metadata['help'])}"
        for name, f in KNOWN.items()
        if name not in OF_RECIPES
    ]
    return HEADER.format(source="funrecipe/train/options.py") + DECLARE_SETTING + "\n".join(lines) + "\n"


def main() -> None:
    (UTILS / "decode_options.sh").write_text(decode_options(), encoding="utf-8")
    (UTILS / "train_settings.sh").write_text(train_settings(), encoding="utf-8")


if __name__ == "__main__":
    main()
