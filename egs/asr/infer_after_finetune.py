"""Decode and score a data directory with the weights of a fine-tuning run; parameters are set in this file.

The model folder is left as it is: weights are laid over it for this run only. Results: output_dir/decode/1best_recog.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from infer import become_infer_sh

PARAMS = {
    "modelscope_model_name": "damo/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-pytorch",  # id or folder
    "output_dir": "./checkpoint",  # of finetune.py; results go to its folder "decode"
    "decoding_model_name": None,  # a checkpoint in output_dir; None: the average that the run itself chose
    "data_dir": "./data/test",  # holds wav.scp and, to be scored, text; or test/ with these
    "batch_size": 64,
    "ctc_weight": None,  # of models with a CTC module; None: as decoding.yaml says
    "njob": 1,
    "required_files": [],  # of FunASR's script; not needed, the model folder is used as it is
}


def infer_after_finetune(params: dict) -> NoReturn:
    """Become infer.sh, with the tuned weights."""
    data_dir = Path(params["data_dir"])
    if not (data_dir / "wav.scp").exists() and (data_dir / "test/wav.scp").exists():
        data_dir = data_dir / "test"
    become_infer_sh({
        "model": params["modelscope_model_name"], "data_dir": data_dir,
        "output_dir": Path(params["output_dir"]) / "decode", "checkpoint_dir": params["output_dir"],
        "checkpoint_name": params["decoding_model_name"], "batch_size": params["batch_size"],
        "ctc_weight": params["ctc_weight"], "njob": params["njob"],
    })  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in PARAMS.items():
        if isinstance(value, list):
            parser.add_argument(f"--{name}", nargs="*", default=value, help="accepted and not needed")
        else:
            parser.add_argument(f"--{name}", default=value, type=str if value is None else type(value))
    infer_after_finetune(vars(parser.parse_args()))
