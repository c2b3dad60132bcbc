"""Planning a run: which shards, on what kind of device, with which model and options; loads no weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from funrecipe.audio.settings import AudioSettings
from funrecipe.data.kaldi_dir import read_texts
from funrecipe.data.lists import UtteranceStream
from funrecipe.errors import DataError, UsageError, count
from funrecipe.families import PUNCTUATION, RECOGNITION, WITH_TEXTS
from funrecipe.identity import code_version
from funrecipe.jobs import slurm_record
from funrecipe.jobs.earlier_plans import switch_plans
from funrecipe.jobs.launch import LOCAL, check_backend
from funrecipe.jobs.local import layout_of
from funrecipe.jobs.model_record import ModelRecord, choose_model
from funrecipe.jobs.plan import Plan, read_plan, write_header
from funrecipe.jobs.progress import format_duration
from funrecipe.jobs.resources import lay_out
from funrecipe.jobs.results import RESULTS, UNFINISHED, unpublish
from funrecipe.jobs.run_record import check_published
from funrecipe.jobs.shards import make_entries, text_entries, with_texts
from funrecipe.jobs.split import Draft
from funrecipe.model_folder.checkpoints import DEFAULT_NAME
from funrecipe.processes import only_run_in
from funrecipe.punctuation.render import DEFAULT_RULES, check_rules


@dataclass(frozen=True)
class PlanRequest:
    """The request besides data, model and decoding options. Meaning: ``funrecipe plan --help``."""

    njob: int = 64
    batch_size: int = 64
    gpu_inference: str = "auto"
    gpuid_list: str = ""
    ncpu: int | None = None
    backend: str = LOCAL
    resume: bool = True
    audio: AudioSettings = AudioSettings()


def plan_run(
    model: str,
    data_dir: Path | None,
    output_dir: Path,
    *,
    options: dict[str, Any],
    request: PlanRequest,
    checkpoint_dir: Path | None = None,
    checkpoint_name: str = DEFAULT_NAME,
    task: str = RECOGNITION,
    texts: Path | None = None,
    text_rules: str = DEFAULT_RULES,
) -> list[str]:
    """Plan the decoding of a data directory by a model (folder or id); lines about the plan for the user.

    Args:
        options: decode options, only those that were asked for.
        checkpoint_dir: folder of a fine-tuning run, whose ``checkpoint_name`` are the weights.
        task: what the model is expected to do (``families.TASKS``).
        texts: lines ``key text``, for tasks that have texts; text_rules: how punctuation is written.

    Raises:
        UsageError, DataError, WriteError: as :func:`choose_model` and :func:`make_plan`.
    """
    check_backend(request.backend)
    if (output_dir / RESULTS).exists():  # until a merge succeeds, it may be the result of another request
        (output_dir / UNFINISHED).touch()
    known = None
    if task in WITH_TEXTS:
        if texts is None:
            raise UsageError(f"task {task} has no texts", where="--texts", hint="name a file of lines 'key text'")
        known = read_texts(texts)
        if not known:
            raise DataError("no texts", where=str(texts), hint="write lines 'key text'")
    if data_dir is None:
        if task != PUNCTUATION or texts is None:
            raise UsageError("--data_dir is missing", where="--data_dir")
        data_dir = texts.parent
    record = choose_model(model, checkpoint_dir, checkpoint_name, options, task)
    if task == PUNCTUATION:
        check_rules(text_rules)
        options = {**options, "text_rules": text_rules}
    return make_plan(data_dir, record, options, request, output_dir, task=task, texts=known)


def check_plan(
    output_dir: Path,
    model: str | None,
    *,
    options: dict[str, Any],
    checkpoint_dir: Path | None = None,
    checkpoint_name: str = DEFAULT_NAME,
    task: str = RECOGNITION,
    audio_fs: int | None = None,
    channel: int | str | None = None,
    text_rules: str | None = None,
) -> None:
    """Raises DataError if the published results are not of the plan in ``output_dir``, or that plan contradicts what
    is asked for. Arguments as for :func:`plan_run`; None: not given."""
    plan = read_plan(output_dir)
    check_published(plan)
    if "hotword" not in plan.options:  # in that case they are given only to report their recall
        options = {name: value for name, value in options.items() if name != "hotword"}
    model = model or (plan.model.path if checkpoint_dir else None)
    in_force = {**plan.options, **options} if task == RECOGNITION else options
    record = choose_model(model, checkpoint_dir, checkpoint_name, in_force, task) if model else None
    options = options if text_rules is None else {**options, "text_rules": text_rules}
    if found := contradictions(plan, record, options, audio_fs, channel):
        what = f"the results here are from plan {plan.digest[:12]}, with different settings:\n  " + "\n  ".join(found)
        raise DataError(what, where=str(plan.output_dir), hint="run stage 1 with these options, or leave them out")


def make_plan(
    data_dir: Path,
    model: ModelRecord,
    options: dict[str, Any],
    request: PlanRequest,
    output_dir: Path,
    *,
    task: str = RECOGNITION,
    texts: Mapping[str, str] | None = None,
) -> list[str]:
    """Split the work and write the plan; lines about it for the user.

    Results of an earlier, different plan in the folder are set aside, and those of this one, if it was run here
    before, are taken back or, where the run is not to resume, deleted.

    Args:
        texts: by id, where the task needs them; of a task without audio they are all there is.

    Raises:
        UsageError: a GPU does not exist. DataError, UnsafeFileError: lists with errors, audio that is not a file, or
            another run works in the folder. WriteError: the folder cannot be written.
    """
    output_dir = output_dir.absolute()
    with only_run_in(output_dir), Draft(output_dir) as draft:  # a running worker's folder must not be moved away
        if task == PUNCTUATION:
            draft.fill(text_entries(texts or {}))
        else:
            utterances = UtteranceStream(data_dir, draft.folder, allow_pipes=request.audio.allow_pipes)
            rate_hz = request.audio.audio_fs or model.sample_rate_hz
            entries = make_entries(utterances.with_durations(), num_lines=utterances.num_lines, audio_fs=rate_hz)
            draft.fill(entries if texts is None else with_texts(entries, texts, str(data_dir)))
        device, gpuid_list, num_jobs = _devices(draft.num_utterances, request, Path(model.weights))
        plan = Plan(
            output_dir=output_dir,
            data_dir=str(data_dir.absolute()),
            model=model,
            options=options,
            jobs=draft.split(num_jobs),
            batch_size=request.batch_size,
            device=device,
            gpuid_list=gpuid_list,
            ncpu=request.ncpu,
            code=code_version(),
            audio=request.audio,
            task=task,
        )
        slurm_record.refuse_living(output_dir, plan.digest, dict(os.environ), resume=request.resume)
        aside, kept = switch_plans(output_dir, plan.work_digest)
        if not request.resume:
            unpublish(output_dir)
            for job in plan.jobs:
                shutil.rmtree(plan.shard_folder(job.number), ignore_errors=True)
        draft.publish(output_dir / "split")
        write_header(plan)
        (output_dir / "log").mkdir(exist_ok=True)
    return [*_about_earlier_results(aside, kept if request.resume else None), _about(plan, request.backend)]


def _about_earlier_results(aside: Path | None, kept: Path | None) -> Iterator[str]:
    if aside:
        yield f"the plan has changed: earlier results are in {aside}"
    if kept:
        yield "reusing what an earlier run of this plan decoded"


def contradictions(
    plan: Plan,
    model: ModelRecord | None,
    options: dict[str, Any],
    audio_fs: int | None,
    channel: int | str | None = None,
) -> list[str]:
    """How the plan differs from the request; None: not given."""
    found = []
    if model is not None:
        names = {**model.fingerprint, **plan.model.fingerprint}
        if any(model.fingerprint.get(name) != plan.model.fingerprint.get(name) for name in names):
            found.append(f"the model: {plan.model.weights} was used, {model.weights} is asked for")
    found += [
        f"{name}: {plan.options.get(name, 'the default of the model')} was used, {value} is asked for"
        for name, value in options.items()
        if plan.options.get(name) != value
    ]
    if audio_fs is not None and audio_fs != plan.audio.audio_fs:
        found.append(f"audio_fs: {plan.audio.audio_fs} was used, {audio_fs} is asked for")
    if channel is not None and channel != plan.audio.channel:
        found.append(f"channel: {plan.audio.channel} was used, {channel} is asked for")
    return found


def _devices(num_utterances: int, request: PlanRequest, weights: Path) -> tuple[str, str, int]:
    """Kind of device, indices of the GPUs where this machine's are used, number of shards."""
    if request.backend != LOCAL:  # the machine that plans is not the one that decodes
        device = {"true": "cuda", "false": "cpu"}.get(request.gpu_inference, "auto")
        return device, "", min(request.njob, num_utterances)
    layout = lay_out(
        num_utterances,
        gpu_inference=request.gpu_inference,
        gpuid_list=request.gpuid_list,
        njob=request.njob,
        ncpu=request.ncpu,
        weights_bytes=weights.stat().st_size,
    )
    return "cuda" if layout.gpuid_list else "cpu", layout.gpuid_list, len(layout.gpus)


def _about(plan: Plan, backend: str) -> str:
    """How the work will be laid out, and the model."""
    audio = format_duration(sum(job.cost_s for job in plan.jobs))
    lines = [f"{count(plan.num_utterances, 'utterance')}, about {audio} of audio"]
    if plan.task == PUNCTUATION:
        lines = [count(plan.num_utterances, "text")]
    if backend == LOCAL:
        layout = layout_of(plan)
        where = f"GPU {','.join(str(gpu) for gpu in layout.gpus)}" if plan.device == "cuda" else "CPU"
        at_once = f", {layout.max_running} at once" if layout.max_running < len(plan.jobs) else ""
        lines[0] += f": {count(len(plan.jobs), 'job')} on {where}{at_once}, {count(layout.threads, 'thread')} each"
        lines += [f"note: {note}" for note in layout.notes]
    else:
        lines[0] += f": {count(len(plan.jobs), 'job')} for {backend}"
    lines.append(f"weights {plan.model.weights} sha256 {plan.model.weights_sha256[:16]}")
    lines.append(f"plan {plan.digest[:12]}")
    return "\n".join(lines)
