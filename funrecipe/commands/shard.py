"""``funrecipe shard``: plan a run. Reads the data directory and the model folder's description, writes ``plan.json``
and ``split/``; loads no weights."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from funrecipe.jobs.plan import ModelRecord, Plan
    from funrecipe.jobs.shards import ShardEntry

BOOLEAN = ("true", "false")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from funrecipe.decode.options import add_option_arguments

    parser.add_argument("--model", required=True, help="model folder, or an id of the model zoo that is on disk")
    parser.add_argument("--data_dir", type=Path, required=True, help="Kaldi data directory")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--njob", type=positive, default=64, help="jobs on the CPU (default: %(default)s)")
    parser.add_argument(
        "--batch_size", type=positive, default=64, help="most utterances in a batch (default: %(default)s)"
    )
    parser.add_argument("--gpu_inference", choices=("auto", *BOOLEAN), default="auto")
    parser.add_argument("--gpuid_list", default="0,1", help="GPUs to use, one job each (default: %(default)s)")
    parser.add_argument("--ncpu", type=positive, help="threads per job (default: cores / jobs)")
    parser.add_argument("--checkpoint_dir", type=Path, help="folder of a fine-tuning run")
    parser.add_argument(
        "--checkpoint_name",
        default="valid.cer_ctc.ave.pb",
        help="weights in it (default: %(default)s, or the run's own average where there is no such file)",
    )
    parser.add_argument(
        "--resume", choices=BOOLEAN, default="true", help="keep what an interrupted run of this plan decoded"
    )
    parser.add_argument("--backend", default="local", help="what will run the jobs (default: %(default)s)")
    parser.add_argument("--allow_pipes", choices=BOOLEAN, default="false", help="run commands that wav.scp names")
    parser.add_argument("--audio_fs", type=positive, help="sampling rate of raw .pcm files, in Hz")
    add_option_arguments(parser)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return value


def run(args: argparse.Namespace) -> None:
    from funrecipe.data.kaldi_dir import read_data_dir
    from funrecipe.jobs import plan as planning
    from funrecipe.jobs.launch import check_backend, only_run_in
    from funrecipe.jobs.resources import lay_out
    from funrecipe.jobs.results import RESULTS
    from funrecipe.jobs.shards import balance, write_lists

    check_backend(args.backend)
    data = read_data_dir(args.data_dir, allow_pipes=args.allow_pipes == "true")
    entries = [_entry(utterance, data.durations_s, args.audio_fs) for utterance in data.utterances]
    options = _decode_options(args)
    model = record_model(args.model, args.checkpoint_dir, args.checkpoint_name, options)
    layout = lay_out(
        len(entries),
        gpu_inference=args.gpu_inference,
        gpuid_list=args.gpuid_list,
        njob=args.njob,
        ncpu=args.ncpu,
        weights_bytes=Path(model.weights).stat().st_size,
    )
    shards = balance(entries, len(layout.gpus))
    jobs = tuple(
        planning.Job(number, tuple(shard), gpu)
        for number, (shard, gpu) in enumerate(zip(shards, layout.gpus, strict=True), start=1)
    )
    plan = planning.Plan(
        output_dir=args.output_dir.absolute(),
        data_dir=str(args.data_dir.absolute()),
        model=model,
        options=options,
        jobs=jobs,
        threads=layout.threads,
        max_running=layout.max_running,
        batch_size=args.batch_size,
        code=planning.code_version(),
        audio_fs=args.audio_fs,
        allow_pipes=args.allow_pipes == "true",
        notes=layout.notes,
    )
    _make_folder(plan.output_dir)
    with only_run_in(plan.output_dir):  # a running worker's folder must not be moved away
        aside = planning.set_stale_aside(plan.output_dir, plan.digest)
        if args.resume == "false":
            for folder in [plan.output_dir / RESULTS, *(plan.shard_folder(job.number) for job in plan.jobs)]:
                shutil.rmtree(folder, ignore_errors=True)
        plan.write()
        write_lists(shards, plan.output_dir / "split")
    _report(plan, aside)


def record_model(
    model: str, checkpoint_dir: Path | None, checkpoint_name: str, options: dict[str, Any] | None = None
) -> ModelRecord:
    """The model folder, with the weights of a fine-tuning run laid over it if asked for; nothing is copied.

    Everything that results depend on is part of the fingerprint, n-grams and a file of hot words too. Hot words that
    the vocabulary cannot spell are reported now, as the logs of the workers are not read.

    Raises:
        DataError: the folder or the checkpoint is not there; names the checkpoints that are.
        UsageError: an option that this family ignores.
    """
    from funrecipe.decode.hotwords import read_hotwords, spell_hotwords
    from funrecipe.decode.options import DecodeOptions, check_supported
    from funrecipe.hub import open_model
    from funrecipe.jobs.plan import ModelRecord, fingerprint
    from funrecipe.jobs.shards import file_stamp
    from funrecipe.model_folder.checkpoints import find_checkpoint

    folder = open_model(model)
    defaults = DecodeOptions.from_mapping(folder.decoding, where=f"{folder.path}/decoding.yaml")
    asked = DecodeOptions(**(options or {})).over(defaults)
    check_supported(asked, folder.family)
    hotword = asked.hotword
    if words := read_hotwords(hotword):
        spell_hotwords(words, folder.tokenizer)
    weights = find_checkpoint(checkpoint_dir, checkpoint_name) if checkpoint_dir else folder.weights
    digests = fingerprint(
        {
            "weights": weights,
            "cmvn": folder.cmvn,
            "seg_dict": folder.seg_dict,
            "bpe_model": folder.bpe_model,
            "lm_weights": folder.lm_weights,
            "lm_config": folder.lm_config,
            "ngram": folder.ngram,
            "hotword": Path(hotword) if hotword and os.path.isfile(hotword) else None,
        },
        {"config": folder.config, "tokens": folder.tokens, "decoding": folder.decoding},
    )
    return ModelRecord(
        str(folder.path), str(weights), digests, file_stamp(weights), folder.sample_rate_hz, folder.frames_per_second
    )


def _entry(utterance: Any, durations_s: dict[str, float], audio_fs: int | None) -> ShardEntry:
    from funrecipe.data.durations import duration_s
    from funrecipe.jobs.shards import ShardEntry, file_stamp

    known_s = durations_s.get(utterance.utt_id)
    stamp = file_stamp(_file_of(utterance.audio))
    if known_s is None and stamp:
        known_s = duration_s(utterance, audio_fs=audio_fs or 16000)
    return ShardEntry(utterance.utt_id, utterance.audio, utterance.start_s, utterance.end_s, known_s, stamp)


def _file_of(audio: str) -> str:
    """The file behind ``path`` or ``ark:offset``."""
    path, colon, offset = audio.rpartition(":")
    return path if colon and offset.isdecimal() else audio


def _decode_options(args: argparse.Namespace) -> dict[str, Any]:
    """Only what was asked for. The text "None" is how old recipes said "no hotwords"."""
    from funrecipe.decode.options import OPTIONS, options_given

    if args.hotword and args.hotword.lower() == "none":
        args.hotword = None
    if args.hotword and os.path.isfile(args.hotword):
        args.hotword = str(Path(args.hotword).resolve())
    options = options_given(args)  # values out of range are an error now, not in every worker
    return {name: value for name in OPTIONS if (value := getattr(options, name)) is not None}


def _make_folder(output_dir: Path) -> None:
    from funrecipe.errors import DataError

    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        (output_dir / "split").mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot write: {error.strerror}", where=str(output_dir), hint="choose another --output_dir"
        ) from None


def _report(plan: Plan, aside: Path | None) -> None:
    from funrecipe.jobs.plan import describe
    from funrecipe.jobs.wording import format_duration

    if aside:
        print(f"the plan has changed: earlier results are in {aside}")
    audio = format_duration(sum(job.cost_s for job in plan.jobs))
    layout = describe(plan.jobs, plan.threads, plan.max_running)
    print(f"{plan.num_utterances} utterances, {audio} of audio: {layout}")
    for note in plan.notes:
        print(f"note: {note}")
    print(f"weights {plan.model.weights} sha256 {plan.model.weights_sha256[:16]}")
