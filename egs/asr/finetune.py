"""Fine-tune a model with parameters set in this file.

Start it alone, or in several processes:
  python egs/asr/finetune.py
  torchrun --nproc-per-node 2 egs/asr/finetune.py
  CUDA_VISIBLE_DEVICES=1,2 python -m torch.distributed.launch --nproc_per_node 2 egs/asr/finetune.py
Each parameter, and every setting that funrecipe train --help lists, can also be an option: --max_epoch 5 --resume false
"""

from __future__ import annotations

import argparse
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../utils"))

from repository_python import use_repository_python  # noqa: E402

use_repository_python("torch")

from funrecipe import ASRDataset, Trainers, build_trainer, modelscope_args  # noqa: E402
from funrecipe.errors import FunrecipeError, Interrupted, exit_code_of  # noqa: E402
from funrecipe.processes import interrupt_on_signals  # noqa: E402
from funrecipe.trainers import launcher_arguments, training_settings  # noqa: E402


def modelscope_finetune(params: modelscope_args) -> None:
    # sets "train" and "validation" (or "dev")
    ds_dict = ASRDataset.load(params.data_path, namespace="speech_asr")
    kwargs = {**vars(params), "data_dir": ds_dict, "work_dir": params.output_dir}
    for name in ("data_path", "output_dir"):
        del kwargs[name]
    trainer = build_trainer(Trainers.speech_asr_trainer, default_args=kwargs)
    trainer.train()


def parameters() -> modelscope_args:
    params = modelscope_args(model="damo/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-pytorch")
    params.output_dir = "./checkpoint"  # checkpoints, logs and averages
    params.data_path = "./example_data/"  # holds train/ and validation/ (or dev/), each with wav.scp and text
    # None: as finetune.yaml of the model says, else its config.yaml, else the default. The log says what is in force.
    params.dataset_type = None  # small (default), or large for more than about 1000 hours
    params.batch_bins = None  # default 2000. small: frames of the model (60 ms each); large: milliseconds
    params.max_epoch = None  # default 50
    params.lr = None  # for example 0.00005
    return params


def main() -> int:
    interrupt_on_signals()
    params = parameters()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    launcher_arguments(parser)
    for name, value in vars(params).items():
        parser.add_argument(f"--{name}", default=value, type=type(value) if isinstance(value, (int, float)) else None)
    for name in training_settings() - vars(params).keys() - {"data_dir"}:  # data_path here
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    given = vars(parser.parse_args())
    given.pop("local_rank")
    for name, value in given.items():
        setattr(params, name, value)
    try:
        modelscope_finetune(params)
    except FunrecipeError as error:
        print(f"finetune.py: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        print(f"finetune.py: {error.strerror or error}{place}", file=sys.stderr)
        return exit_code_of(error)
    except KeyboardInterrupt:
        print("finetune.py: interrupted", file=sys.stderr)
        return Interrupted.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
