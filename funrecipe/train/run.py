"""A whole training run: settings resolved, processes joined, session built and run."""

from __future__ import annotations

import logging
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from funrecipe.errors import UsageError
from funrecipe.train.distributed import check_gpus, join_processes, leave_processes
from funrecipe.train.options import build_options, read_yaml_file
from funrecipe.train.output_folder import write_model_folder
from funrecipe.train.session import build_session, check_data, check_model, starting_point


def start_logging(output_dir: Path, rank: int) -> None:
    """Log to stderr and to ``train.log.<rank>``, one line form for both: ``[host] date (module:line) INFO: ...``."""
    output_dir.mkdir(parents=True, exist_ok=True)
    form = logging.Formatter(f"[{platform.node()}] %(asctime)s (%(module)s:%(lineno)d) %(levelname)s: %(message)s")
    logger = logging.getLogger("funrecipe")
    logger.setLevel(logging.INFO)
    logger.handlers.clear()
    handlers = [logging.FileHandler(output_dir / f"train.log.{rank}", encoding="utf-8")]
    if rank == 0:
        handlers.append(logging.StreamHandler(sys.stderr))
    for handler in handlers:
        handler.setFormatter(form)
        logger.addHandler(handler)


def refuse_output_dir(output_dir: Path, model_dir: Path | None, data_dir: Path, more: Sequence[str]) -> None:
    """Neither the base model nor the data are ever written to. Raises UsageError."""
    place = output_dir.resolve()
    if model_dir is not None and place == model_dir.resolve():
        raise UsageError(f"output_dir is the folder of the base model: {output_dir}", hint="give another --output_dir")
    sets = [data_dir.resolve() / name for name in ("", "train", "validation", "dev", "valid", "test")]
    if place in [*sets, *(Path(folder).resolve() for folder in more)]:
        raise UsageError(f"output_dir is the folder of the data: {output_dir}", hint="give another --output_dir")


def train(flags: dict[str, Any], *, check: str | None = None) -> None:
    """Resolve the settings, build the session, run it. Raises FunrecipeError."""
    names = ("model", "config", "token_list", "cmvn_file", "pretrained")
    folder = starting_point(build_options({}, {}, {name: flags[name] for name in names if name in flags}))
    finetune = read_yaml_file(folder.path / "finetune.yaml") if flags.get("model") else {}
    options = build_options(folder.config, finetune, flags)
    output_dir = Path(options.output_dir)
    model_dir = folder.path if flags.get("model") else None
    for base in (model_dir, Path(options.pretrained) if options.pretrained else None):
        refuse_output_dir(output_dir, base, Path(options.data_dir), options.more_train_dirs)
    if check:
        start_logging(output_dir, 0)
        check_data(folder, options) if check == "data" else check_model(folder, options)
        return
    check_gpus(options.num_gpus)
    device_type = "cuda" if options.num_gpus else "cpu"
    ranks = join_processes(device=device_type, timeout_s=options.process_timeout_s)
    try:
        start_logging(output_dir, ranks.rank)
        device = torch.device(device_type, ranks.local_rank) if device_type == "cuda" else torch.device("cpu")
        session = build_session(options, ranks, device)
        if ranks.is_writer:
            write_model_folder(options, session.folder, output_dir)
        session.trainer.run()
    finally:
        leave_processes()
