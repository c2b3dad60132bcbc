"""The mean of a tuned model and the one it started from.

Run: ``mix_weights.py BASE_MODEL RUN_DIR CHECKPOINT OUTPUT --share 0.5``.

Tuned weights fit the new data, the old ones generalise better in other places; between them the error is lower than
at either end (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"). Tokens that only the tuned model has
keep their rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from funrecipe.checkpoint import load_state_dict, save_checkpoint
from funrecipe.model_folder import open_model_folder
from funrecipe.train.initialize import extend_state
from funrecipe.train.options import read_yaml_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base_model", type=Path)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the tuned weights")
    args = parser.parse_args()
    base, tuned = open_model_folder(args.base_model), load_state_dict(args.checkpoint)
    tokens = [str(token) for token in read_yaml_file(args.run_dir / "config.yaml")["token_list"]]
    old = extend_state(load_state_dict(base.weights), base.tokens, tokens, tuned)
    known = set(base.tokens)
    new_rows = [i for i, token in enumerate(tokens) if token not in known]
    mixed = {name: args.share * value + (1 - args.share) * old[name] for name, value in tuned.items()}
    for name, value in tuned.items():
        if new_rows and value.dim() and value.shape[0] == len(tokens):
            mixed[name][new_rows] = value[new_rows]
    save_checkpoint(mixed, args.output)


if __name__ == "__main__":
    main()
