"""The verb table: ``funrecipe <verb>`` or ``python -m funrecipe <verb>``.

Every verb is one module under ``funrecipe/commands`` with two functions,
``add_arguments(parser)`` and ``run(args) -> int | None`` (None means 0).
Only the module of the verb that is asked for is imported, so ``--help`` and
the list-handling verbs start without torch.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from funrecipe.errors import FunrecipeError, UsageError, WorkerError, did_you_mean, exit_code_of
from funrecipe.ranges import THREADS

VERBS: dict[str, str] = {
    "validate": "check a Kaldi data directory and report every problem with file and line",
    "import": "make a data directory from a folder of audio, a jsonl, a table or lhotse cuts",
    "plan": "plan a run: shards, kind of device, model, options -> plan.json and split/",
    "launch": "start one worker per shard of a plan and wait for all of them",
    "decode": "decode one shard (the worker)",
    "merge": "join shard outputs into 1best_recog/, or refuse when an utterance is missing",
    "status": "show the progress of a run: utterances, real-time factor, failures, CER",
    "score": "compute error rates of hypotheses against references",
    "embed": "write the speaker embeddings of a list as Kaldi vectors",
    "diarize": "find who speaks when, from the embeddings of a run -> RTTM",
    "verify": "score pairs of embeddings; equal error rate",
    "der": "compute the diarization error rate of RTTM files",
    "score_vad": "compare voice activity with a reference: miss, false alarm, detection cost",
    "score_punc": "compare punctuation with a reference: precision, recall, F1 of every mark",
    "score_timestamps": "compare the times of tokens with a CTM: mean absolute error",
    "punctuate": "add punctuation to a list of texts",
    "align": "give the time of each token of known texts",
    "normalize": "normalize text with a named profile",
    "report": "write one self-contained HTML page and RESULTS.md about a scored run",
    "compare": "test whether two scored runs differ significantly",
    "train": "fine-tune or train a model",
    "train_on_slurm": "train as a Slurm job, on one node or several, and wait for it",
    "average": "average the n best checkpoints of a training run",
    "cmvn": "write the feature statistics of a training set: am.mvn",
    "tokens": "write the token list of a training set: tokens.txt",
    "splice": "create extra training data by splicing segments of a training set",
    "pack": "write one checkpoint of a training run as a model folder",
    "segment": "cut the recordings of a data directory into pieces to decode",
    "join": "join the results of pieces into those of their recordings; write subtitles",
    "transcribe": "turn audio files of any length into text and subtitles",
    "export": "write a model folder as ONNX and compare both on real audio",
    "perplexity": "measure how well a language model predicts a text",
    "download": "get a model from the hub (no other verb uses the network unless you allow it)",
}
ALIASES = {"shard": "plan"}  # earlier names of verbs
# torch and oneDNN each keep what they prepared for the last 1024 shapes, buffers included. Batches of speech hardly
# ever have the same shape again, and an hour of them would fill 300 MB. Both limits are read at the first use.
CACHED_SHAPES = {"LRU_CACHE_CAPACITY": "32", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128"}


def build_parser(verb: str) -> argparse.ArgumentParser:
    """The argument parser of one verb; imports that verb's module only."""
    parser = argparse.ArgumentParser(prog=f"funrecipe {verb}", description=VERBS[verb], allow_abbrev=False)
    # What type=Path, type=int, type="positive", type="threads" and type=float of the verbs mean.
    for kind, check in ((Path, _path), (int, _count), ("positive", _positive), ("threads", _threads), (float, _number)):
        parser.register("type", kind, check)
    command = importlib.import_module(f"funrecipe.commands.{verb}")
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)
    return parser


def _path(value: str) -> Path:
    """An empty value, as an unset variable of a script gives it, would be the working directory."""
    if not value:
        raise argparse.ArgumentTypeError("the path is empty: name a file or a folder")
    return Path(value)


def _count(value: str) -> int:
    """Every whole number that a verb takes counts something."""
    if not value.strip().isdecimal():
        raise argparse.ArgumentTypeError(f"'{value}' is not a whole number of 0 or more")
    return int(value)


def _positive(value: str) -> int:
    if _count(value) < 1:
        raise argparse.ArgumentTypeError(f"'{value}' is not a positive number")
    return int(value)


def _threads(value: str) -> int:
    if not THREADS.has(number := _count(value)):
        raise argparse.ArgumentTypeError(f"'{value}' is not a number of threads: give {THREADS}")
    return number


def _number(value: str) -> float:
    """NaN compares as false with every limit, and would pass them all."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise argparse.ArgumentTypeError(f"'{value}' is not a number")
    return number


def usage() -> str:
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {verb:<{width}}{text}" for verb, text in VERBS.items())
    more = "Try 'funrecipe <verb> --help'. Exit codes: docs/exit_codes.md"
    return f"usage: funrecipe <verb> [options]\n\n{verbs}\n\n{more}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; its exit code. Output that cannot be written is a failure; output to a closed stream is dropped."""
    _open_standard_streams()
    for name, limit in CACHED_SHAPES.items():
        os.environ.setdefault(name, limit)
    atexit.register(gc.freeze)  # or Python would end by looking for garbage in all of torch, for half a second
    code = 0
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output went away (`funrecipe ... | head`): not an error of ours
        pass
    except OSError as error:
        print(f"funrecipe: cannot write to standard output: {error.strerror}", file=sys.stderr)
        code = code or WorkerError.exit_code
    # What could not be written is not tried again when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _open_standard_streams() -> None:
    """A closed stream is reopened on /dev/null; otherwise the next file to be opened would take its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))


def _run(argv: Sequence[str] | None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] == "--version":
        from funrecipe import __version__

        print(f"funrecipe {__version__}")
        return 0
    verb, rest = ALIASES.get(argv[0], argv[0]), argv[1:]
    if verb not in VERBS:
        guess = did_you_mean(verb, VERBS)
        print(f"funrecipe: unknown verb '{verb}'{f' ({guess})' if guess else ''}", file=sys.stderr)
        print("Try 'funrecipe --help'.", file=sys.stderr)
        return 2
    try:
        args = build_parser(verb).parse_args(rest)
        return args.run(args) or 0
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", "funrecipe"):  # a fault of ours
            raise
        print(f"funrecipe {verb}: {sys.executable} has no package '{error.name}'", file=sys.stderr)
        print("  do: bash tools/setup.sh (and leave PYTHON unset), or install requirements.txt there", file=sys.stderr)
        return UsageError.exit_code
    except FunrecipeError as error:
        print(f"funrecipe {verb}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"funrecipe {verb}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        print(f"funrecipe {verb}: {error.strerror or error}{place}", file=sys.stderr)
        return exit_code_of(error)


if __name__ == "__main__":
    sys.exit(main())
