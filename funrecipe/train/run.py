"""A whole training run: settings resolved, the folder locked, processes joined, session built and run."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from funrecipe.errors import DataError, UsageError
from funrecipe.families import MARKED_TEXTS, SEGMENTS, TEXTS
from funrecipe.files import make_folder, remove_leftovers
from funrecipe.model_folder import ModelFolder
from funrecipe.processes import RETRIED_VARIABLE, end_with_parent, only_run_in
from funrecipe.train.averaging import average_name
from funrecipe.train.data.folders import TRAIN_FOLDER, VALIDATION_FOLDERS, validation_dir
from funrecipe.train.distributed import Ranks, check_gpus, join_processes, leave_processes
from funrecipe.train.option_rules import trained_on
from funrecipe.train.options import (
    COMMAND_LINE,
    Settings,
    TrainOptions,
    build_options,
    read_yaml_file,
    resolve,
    settings_lines,
)
from funrecipe.train.output_folder import refuse_other_model, write_model_folder
from funrecipe.train.session import Session, build_session, check_data, check_model, starting_point

log = logging.getLogger(__name__)
STALE_LOCK_S = 90.0  # longer than a lease lives without its holder
# Settings that are needed to find all others.
STARTING_POINT = ("model", "config", "token_list", "cmvn_file", "pretrained")


def train(
    flags: Mapping[str, Any],
    *,
    check: str | None = None,
    source: str = COMMAND_LINE,
    from_file: Mapping[str, str] | None = None,
) -> None:
    """Train as ``flags`` and the files of the model say, to the end or until interrupted.

    Args:
        flags: settings by name.
        check: ``data`` or ``model``: only look at the data, or only build the model.
        source: who gave the flags, for the log.
        from_file: flag -> configuration file that a recipe read it from.

    Raises:
        FunrecipeError: of the kind that names the exit code.
    """
    end_with_parent()
    if RETRIED_VARIABLE in os.environ:  # even if the first attempt was started with --resume false
        flags = {**flags, "resume": True}
    start = starting_point(build_options({}, {}, {name: flags[name] for name in STARTING_POINT if name in flags}))
    settings = settings_of(start, flags, source, from_file or {})
    options, output_dir = settings.options, Path(settings.options.output_dir)
    refuse_output_dir(options, start)
    with only_training_in(output_dir):
        if check:
            start_logging(output_dir, 0)
            check_data(start, options) if check == "data" else check_model(start, options)
            return
        check_gpus(options.num_gpus)
        device_type = "cuda" if options.num_gpus else "cpu"
        ranks = join_processes(device=device_type, timeout_s=options.process_timeout_s)
        try:
            device = torch.device(device_type, ranks.local_rank) if device_type == "cuda" else torch.device("cpu")
            train_as_rank(settings, start, ranks, device)
        finally:
            leave_processes()


def settings_of(start: ModelFolder, flags: Mapping[str, Any], source: str, from_file: Mapping[str, str]) -> Settings:
    """The flags over the files of the model that training starts from."""
    finetune = read_yaml_file(start.path / "finetune.yaml") if flags.get("model") else {}
    config_name = "config.yaml" if flags.get("model") else Path(flags["config"]).name
    return resolve(start.config, finetune, flags, config_name=config_name, flags_name=source, from_file=from_file)


def train_as_rank(settings: Settings, start: ModelFolder, ranks: Ranks, device: torch.device) -> None:
    """The part of one process in a run."""
    options, output_dir = settings.options, Path(settings.options.output_dir)
    start_logging(output_dir, ranks.rank)
    if ranks.is_writer:
        if number := remove_leftovers(output_dir, output_dir / "preflight"):
            log.info("removed %d unfinished files of a run that was killed", number)
        for line in ("settings in force:", *(f"  {line}" for line in settings_lines(settings))):
            log.info(line)
    session = build_session(options, ranks, device, start=start)
    session.trainer.resume()  # before anything is written: another run's checkpoint may be there
    options = session.trainer.options  # without criteria whose values this run does not have
    if ranks.is_writer:
        write_model_folder(options, session.folder, output_dir)
    position = session.trainer.run()
    if ranks.is_writer:
        for line in closing_lines(session, options, position.update):
            log.info(line)


@contextmanager
def only_training_in(output_dir: Path) -> Iterator[None]:
    """The lock of the output directory, which rank 0 holds for all ranks. Raises DataError if another run has it.

    A requeued job may find the lock of its earlier attempt, on a node that has just died.
    """
    deadline = time.monotonic() + (STALE_LOCK_S if RETRIED_VARIABLE in os.environ else 0)
    with ExitStack() as held:
        while os.environ.get("RANK", "0") == "0":
            try:
                held.enter_context(only_run_in(output_dir))
                break
            except DataError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(1)
        yield


class LogFile(logging.FileHandler):
    """A log whose lines are left out where the disk has no room for them: what must be written says so itself."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def start_logging(output_dir: Path, rank: int) -> None:
    """Log to stderr and to ``train.log.<rank>``, one line form for both: ``[host] date (module:line) INFO: ...``."""
    make_folder(output_dir)
    form = logging.Formatter(f"[{platform.node()}] %(asctime)s (%(module)s:%(lineno)d) %(levelname)s: %(message)s")
    logger = logging.getLogger("funrecipe")
    logger.setLevel(logging.INFO)
    logger.handlers.clear()
    handlers: list[logging.Handler] = [LogFile(output_dir / f"train.log.{rank}", encoding="utf-8")]
    if rank == 0:
        handlers.append(logging.StreamHandler(sys.stderr))
    for handler in handlers:
        handler.setFormatter(form)
        logger.addHandler(handler)


def refuse_output_dir(options: TrainOptions, start: ModelFolder) -> None:
    """Raise UsageError if no output folder is named, or that of the base model, the data or another model."""
    if not options.output_dir:  # as an unset variable of a script gives it: the current folder
        raise UsageError("output_dir is ''", hint="give a folder")
    output_dir = Path(options.output_dir)
    hint = "choose another --output_dir"
    bases = [start.path] if options.model else [Path(options.pretrained)] if options.pretrained else []
    if output_dir.resolve() in [base.resolve() for base in bases]:
        raise UsageError(f"output_dir is the folder of the base model: {output_dir}", hint=hint)
    data_dir = Path(options.data_dir).resolve()
    sets = [data_dir, *(data_dir / name for name in (TRAIN_FOLDER, *VALIDATION_FOLDERS, "test"))]
    if output_dir.resolve() in [*sets, *(Path(folder).resolve() for folder in options.more_train_dirs)]:
        raise UsageError(f"output_dir is the folder of the data: {output_dir}", hint=hint)
    for path in (Path(spec.partition(":")[0]) for spec in options.init_param if not options.resume):
        if path.resolve().parent == output_dir.resolve():
            said = f"init_param is in output_dir, whose weights --resume false removes: {path}"
            raise UsageError(said, hint=f"{hint}, or copy these weights elsewhere")
    refuse_other_model(output_dir)


def closing_lines(session: Session, options: TrainOptions, updates: int) -> Sequence[str]:
    """Where the result is, and the command that decodes with it."""
    output_dir = Path(options.output_dir)
    average = output_dir / average_name(*options.best_model_criterion[0][:2])
    if not average.is_file():
        return [f"no epoch of this run can be averaged: see {output_dir}"]
    lines = [f"finished after {updates} updates; the average of the best epochs: {average}"]
    if trained_on(session.folder.family) in (TEXTS, MARKED_TEXTS):
        return lines
    kind = "vad" if trained_on(session.folder.family) == SEGMENTS else "asr"
    recipe = Path(__file__).parents[2] / "egs" / kind / "infer.sh"
    command = ["bash", str(recipe) if recipe.is_file() else "infer.sh", "--model", str(output_dir), "--data_dir",
               str(validation_dir(Path(options.data_dir))), "--output_dir", str(output_dir / "results")]  # fmt: skip
    return [*lines, f"decode with it: {shlex.join(command)}"]
