"""Decode and score a data directory with parameters set in this file, as FunASR's first recipes did.

Edit PARAMS, or give any of them as an option: python egs/asr/infer.py --data_dir ./data/test --njob 4
The work is infer.sh's, so results lie where it puts them: output_dir/1best_recog/text.cer.
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from typing import NoReturn

PARAMS = {
    "model": "damo/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-pytorch",  # id, or a model folder
    "data_dir": "./data/test",  # holds wav.scp and, to be scored, text
    "output_dir": "./results",
    "batch_size": 64,  # maximum number of utterances that each job decodes at once
    "ctc_weight": None,  # of models with a CTC module; None: as decoding.yaml says
    "njob": 1,  # jobs per GPU, or CPU jobs where ngpu is 0
    "ngpu": 1,  # GPUs to use, 0 for the CPU; a machine without a GPU uses the CPU
}


def infer(params: dict) -> NoReturn:
    """Become infer.sh, with the GPUs and jobs as it counts them."""
    gpus = [str(gpu) for gpu in range(params["ngpu"]) for _ in range(params["njob"])]
    options = {name: value for name, value in params.items() if name != "ngpu"}
    options["gpu_inference"] = "auto" if gpus else "false"
    options["gpuid_list"] = ",".join(gpus)
    become_infer_sh(options)


def become_infer_sh(options: dict) -> NoReturn:
    """Replace this process by infer.sh with the options that have a value."""
    command = ["bash", str(Path(__file__).resolve().with_name("infer.sh"))]
    for name, value in options.items():
        if value not in (None, ""):
            command += [f"--{name}", str(value)]
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and so would all that infer.sh starts
    os.execvp(command[0], command)  # so that signals reach it, and its exit code is ours


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in PARAMS.items():
        parser.add_argument(f"--{name}", default=value, type=str if value is None else type(value))
    infer(vars(parser.parse_args()))
