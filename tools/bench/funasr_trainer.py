"""FunASR's trainer and data loader, driven in the order of its ``train_ds``, which itself insists on a GPU.

    OTHER_VENV/bin/python -m tools.bench.funasr_trainer MODEL LIST.jsonl --precision bf16 --output_dir DIR

trains one epoch to warm up and prints the seconds of a second one; FunASR 1.4.16 was used.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

OPTIM_CONF = {"lr": 0.0005}
SCHEDULER_CONF = {"warmup_steps": 25000}
DATA_CONF = {"index_ds": "IndexDSJsonl", "batch_sampler": "EspnetStyleBatchSampler"}
SETTINGS = {"disable_update": True, "log_level": "ERROR", "optim": "adam", "optim_conf": OPTIM_CONF,
            "scheduler": "warmuplr", "scheduler_conf": SCHEDULER_CONF, "dataset": "AudioDataset"}  # fmt: skip


class FunasrTrainer:
    """``settings``: of FunASR's AutoModel, besides ``SETTINGS``."""

    def __init__(self, settings: dict[str, Any], output_dir: Path, *, device: str, is_bf16: bool = False) -> None:
        from funasr import AutoModel
        from funasr.datasets.dataloader_entry import DataloaderMapStyle
        from funasr.train_utils.trainer_ds import Trainer

        auto = AutoModel(**SETTINGS, **settings, device=device)
        built = {**auto.kwargs, "device": device}
        built.pop("model")
        self._trainer = Trainer(
            device=device, grad_clip=5.0, output_dir=str(output_dir), log_interval=50, use_bf16=is_bf16
        )
        model = self._trainer.warp_model(auto.model, **built)
        self.model, self._optim, self._scheduler = self._trainer.warp_optim_scheduler(model, **built)
        self.loader = DataloaderMapStyle(**built)

    def train(self, epoch: int) -> int:
        """The number of updates."""
        batches, valid = self.loader.build_iter(epoch)
        before = self._trainer.batch_total
        self._trainer.train_epoch(
            model=self.model, optim=self._optim, scheduler=self._scheduler, scaler=None, dataloader_train=batches,
            dataloader_val=valid, epoch=epoch,
        )  # fmt: skip
        return self._trainer.batch_total - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder in FunASR 1.x's layout")
    parser.add_argument("list", type=Path, help="jsonl with key, source, source_len (10 ms), target, target_len")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch_s", type=int, default=1200, help="seconds of audio in a batch, padding included")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    import torch

    workers = max(1, len(os.sched_getaffinity(0)) - 1)
    data_conf = DATA_CONF | {"batch_type": "length", "batch_size": 100 * args.batch_s, "num_workers": workers}
    lists = {"train_data_set_list": str(args.list), "valid_data_set_list": str(args.list)}
    settings = {"model": args.model, "dataset_conf": data_conf, **lists}
    trainer = FunasrTrainer(settings, args.output_dir, device=args.device, is_bf16=args.precision == "bf16")
    trainer.train(1)
    if args.device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    updates = trainer.train(2)
    if args.device == "cuda":
        torch.cuda.synchronize()
    print(json.dumps({"updates": updates, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
