"""The files that a shard writes, and how they become one published ``1best_recog/``.

A shard's folder ``output.N/`` holds

* ``1best_recog/{text,token,score,timestamp,nbest,rich}``: ``id value`` lines, appended and flushed per utterance;
* ``done``: ``id <tab> audio seconds <tab> decoding seconds <tab> stamp of the audio``, written after the others. An
  utterance counts as decoded when its line stands here and in every other file, so a line that a killed worker left
  half written is never taken for a result;
* ``failed.scp``: ``id <tab> audio <tab> reason``;
* ``1best_recog/rtf``: written when the shard is complete.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from funrecipe.errors import IncompleteRunError, WorkerError, list_problems
from funrecipe.files import write_error, write_text

RESULTS = "1best_recog"
UNFINISHED = ".stage1_unfinished"  # infer.sh makes it, a merge that succeeds takes it away
REQUIRED = ("text", "token", "score")
OPTIONAL = ("timestamp", "nbest", "rich")


@dataclass(frozen=True)
class Done:
    """One line of ``done``: what a decoded utterance cost."""

    audio_s: float
    decode_s: float
    stamp: str = ""


@dataclass(frozen=True)
class MergeReport:
    """What a merge published."""

    num_utterances: int
    failed: dict[str, str]
    audio_s: float
    decode_s: float
    warnings: list[str] = field(default_factory=list)


def read_lines(path: Path) -> list[tuple[str, str]]:
    """``(id, rest)`` of every complete line; a last line without its newline was torn off and is left out."""
    try:
        content = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return []
    # Not splitlines(): a token may be a character that Python, but no line reader of ours, takes for a line end.
    pairs = (line.partition(" ") for line in content.split("\n")[:-1])
    return [(key, value) for key, _, value in pairs]


def read_done(path: Path) -> dict[str, Done]:
    done = {}
    for line in _complete_lines(path):
        with contextlib.suppress(ValueError):  # a line that a crash of the machine garbled is no result
            key, audio_s, decode_s, stamp = line.split("\t")
            done[key] = Done(float(audio_s), float(decode_s), stamp)
    return done


def is_shard_complete(folder: Path, stamps: Mapping[str, str]) -> bool:
    """True if every utterance stands once in every file, decoded from the audio as it is now, and nothing else does."""
    done = read_done(folder / "done")
    return {key: entry.stamp for key, entry in done.items()} == stamps and all(
        sorted(key for key, _ in read_lines(folder / RESULTS / name)) == sorted(stamps) for name in REQUIRED
    )


def read_failed(path: Path) -> dict[str, tuple[str, str]]:
    """id -> (audio, reason)"""
    rows = (line.split("\t", 2) for line in _complete_lines(path))
    return {row[0]: (row[1], row[2]) for row in rows if len(row) == 3}


class ShardWriter:
    """Appends results of one shard; opening it repairs what a killed worker left and tells what is already done.

    Args:
        folder: ``output.N``.
        stamps: id -> stamp of its audio, for every utterance of the shard; earlier results of other ids or of audio
            that has changed since are dropped.
    Raises:
        WorkerError: the disk is full or the folder cannot be written.
    """

    def __init__(self, folder: Path, stamps: Mapping[str, str]) -> None:
        self.folder, self._stamps = folder, stamps
        self._files: dict[str, TextIO] = {}
        try:
            (folder / RESULTS).mkdir(parents=True, exist_ok=True)
            self.done = self._recover()
            (folder / "failed.scp").unlink(missing_ok=True)  # what failed is tried again
        except OSError as error:
            raise write_error(error, folder) from error
        self.failed: dict[str, str] = {}

    def _recover(self) -> dict[str, Done]:
        done = {
            key: entry for key, entry in read_done(self.folder / "done").items() if self._stamps.get(key) == entry.stamp
        }
        values = {name: dict(read_lines(self.folder / RESULTS / name)) for name in REQUIRED + OPTIONAL}
        done = {key: entry for key, entry in done.items() if all(key in values[name] for name in REQUIRED)}
        for name, lines in values.items():
            path = self.folder / RESULTS / name
            if path.exists():
                write_text(path, "".join(f"{key} {value}\n" for key, value in lines.items() if key in done))
        write_text(self.folder / "done", "".join(_done_line(key, entry) for key, entry in done.items()))
        return done

    def write(
        self,
        key: str,
        *,
        tokens: Sequence[str],
        text: str,
        score: float,
        audio_s: float,
        decode_s: float,
        timestamp_ms: Sequence[Sequence[int]] | None = None,
        nbest: Sequence[tuple[Sequence[str], str, float]] | None = None,
        rich: Mapping[str, str | None] | None = None,
    ) -> None:
        """Append one utterance to every file and flush; ``done`` comes last. ``nbest``: (tokens, text, score) each."""
        self._append(f"{RESULTS}/text", f"{key} {text}\n")
        self._append(f"{RESULTS}/token", f"{key} {' '.join(tokens)}\n")
        self._append(f"{RESULTS}/score", f"{key} {score:.6f}\n")
        if timestamp_ms is not None:
            self._append(f"{RESULTS}/timestamp", f"{key} {json.dumps([list(pair) for pair in timestamp_ms])}\n")
        if nbest is not None:
            rows = [{"text": text, "token": " ".join(t), "score": round(score, 6)} for t, text, score in nbest]
            self._append(f"{RESULTS}/nbest", f"{key} {json.dumps(rows, ensure_ascii=False)}\n")
        if rich is not None:
            self._append(f"{RESULTS}/rich", f"{key} {json.dumps(dict(rich), ensure_ascii=False)}\n")
        entry = Done(audio_s, decode_s, self._stamps.get(key, ""))
        self._append("done", _done_line(key, entry))
        self.done[key] = entry

    def fail(self, key: str, audio: str, reason: str) -> None:
        """Record an utterance that cannot be decoded, and why."""
        reason = " ".join(reason.split())
        self._append("failed.scp", f"{key}\t{audio}\t{reason}\n")
        self.failed[key] = reason

    def write_rtf(self, frames_per_second: float) -> None:
        """The contract's ``rtf`` file: per utterance, and the average as the last line; both in percent.

        ``feature length`` counts encoder frames (after LFR stacking), as in FunASR, of which there are
        ``frames_per_second``.
        """
        lines = []
        for key, entry in sorted(self.done.items()):
            frames = round(entry.audio_s * frames_per_second)
            lines.append(
                f"{key} decoding, feature length: {frames}, forward_time: {entry.decode_s:.4f}, "
                f"rtf: {_percent(entry.decode_s, entry.audio_s):.4f}\n"
            )
        audio_s, decode_s = sum(e.audio_s for e in self.done.values()), sum(e.decode_s for e in self.done.values())
        lines.append(
            f"rtf_avf decoding, feature length total: {round(audio_s * frames_per_second)}, "
            f"forward_time total: {decode_s:.4f}, rtf avg: {_percent(decode_s, audio_s):.4f}\n"
        )
        write_text(self.folder / RESULTS / "rtf", "".join(lines))

    def _append(self, name: str, line: str) -> None:
        path = self.folder / name
        try:
            if name not in self._files:
                self._files[name] = path.open("a", encoding="utf-8", errors="surrogateescape", newline="\n")
            self._files[name].write(line)
            self._files[name].flush()
        except OSError as error:
            raise write_error(error, path) from error

    def close(self) -> None:
        for path, file in self._files.items():
            try:
                file.close()
            except OSError as error:
                raise write_error(error, Path(path)) from error

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.close()
        except WorkerError:
            if kind is None:  # otherwise the error under way is the same one, and was raised first
                raise


def merge_shards(shards: Iterable[tuple[Path, Sequence[str]]], output_dir: Path, *, max_failed: int = 0) -> MergeReport:
    """Publish ``output_dir/1best_recog`` if every utterance is decoded or, up to ``max_failed``, listed as failed.

    Args:
        shards: per shard its folder and the ids that it had to decode.
    Raises:
        IncompleteRunError: ids are missing, doubled, unknown or too many failed; nothing is published, and what an
            earlier run had published is taken away.
    """
    values: dict[str, dict[str, str]] = {name: {} for name in REQUIRED + OPTIONAL}
    failed: dict[str, tuple[str, str]] = {}
    problems: list[str] = []
    expected: set[str] = set()
    audio_s = decode_s = 0.0
    for folder, ids in shards:
        expected.update(ids)
        problems += _read_shard(folder, set(ids), values, failed)
        done = read_done(folder / "done")
        audio_s += sum(entry.audio_s for entry in done.values())
        decode_s += sum(entry.decode_s for entry in done.values())
    output_dir.mkdir(parents=True, exist_ok=True)
    _write_failed(output_dir / "failed.scp", failed)
    if problems:
        unpublish(output_dir)
        raise IncompleteRunError(
            f"{len(problems)} problems in the outputs of the shards, nothing was published:\n{list_problems(problems)}",
            where=str(output_dir),
            hint="run the same command again; what is decoded is kept",
        )
    if len(failed) > max_failed:
        unpublish(output_dir)
        reasons = [f"{key}: {reason} ({audio})" for key, (audio, reason) in sorted(failed.items())]
        raise IncompleteRunError(
            f"{len(failed)} of {len(expected)} utterances failed, nothing was published:\n{list_problems(reasons)}",
            where=str(output_dir / "failed.scp"),
            hint=f"mend the audio and run the same command again, or allow it: --max_failed {len(failed)}",
        )
    _publish(output_dir, values)
    return MergeReport(len(expected), {key: reason for key, (_, reason) in failed.items()}, audio_s, decode_s)


def unpublish(output_dir: Path) -> None:
    """Take away published results, so that an old number is never read as the result of this run."""
    shutil.rmtree(output_dir / RESULTS, ignore_errors=True)


def _read_shard(
    folder: Path, ids: set[str], values: dict[str, dict[str, str]], failed: dict[str, tuple[str, str]]
) -> list[str]:
    """Add one shard's lines to ``values`` and ``failed``; what is wrong with them, as messages."""
    problems = []
    shard_failed = {key: row for key, row in read_failed(folder / "failed.scp").items() if key in ids}
    for name in REQUIRED + OPTIONAL:
        path = folder / RESULTS / name
        seen = set()
        for key, value in read_lines(path):
            if key in seen or key in values[name]:
                problems.append(f"{path}: '{key}' stands there twice")
            elif key not in ids:
                problems.append(f"{path}: '{key}' is not in this shard of the plan")
            else:
                values[name][key] = value
            seen.add(key)
        missing = ids - seen - shard_failed.keys()
        if name in OPTIONAL:  # a model either gives these or not; an empty hypothesis has none
            missing = {key for key in missing if seen and values["token"].get(key)}
        problems += [f"{path}: '{key}' is missing" for key in sorted(missing)]
    failed.update((key, row) for key, row in shard_failed.items() if key not in values["text"])
    return problems


def _publish(output_dir: Path, values: dict[str, dict[str, str]]) -> None:
    """Make ``1best_recog`` under another name, then rename. Results equal to those published leave them (and the
    scores beside them) alone."""
    contents = {
        name: "".join(f"{key} {value}\n" for key, value in sorted(lines.items()))
        for name, lines in values.items()
        if lines or name in REQUIRED
    }
    published = output_dir / RESULTS
    if all(_content(published / name) == contents.get(name) for name in REQUIRED + OPTIONAL):
        return
    new = output_dir / f".{RESULTS}.{os.getpid()}"
    try:
        new.mkdir(parents=True)
        for name, content in contents.items():
            (new / name).write_text(content, encoding="utf-8", errors="surrogateescape", newline="\n")
        unpublish(output_dir)
        os.replace(new, published)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        unpublish(output_dir)
        raise write_error(error, published) from error


def _write_failed(path: Path, failed: Mapping[str, tuple[str, str]]) -> None:
    if failed:
        write_text(path, "".join(f"{key}\t{audio}\t{reason}\n" for key, (audio, reason) in sorted(failed.items())))
    else:
        path.unlink(missing_ok=True)


def _content(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", errors="surrogateescape")
    except OSError:
        return None


def _complete_lines(path: Path) -> list[str]:
    return (_content(path) or "").split("\n")[:-1]


def _done_line(key: str, entry: Done) -> str:
    return f"{key}\t{entry.audio_s:.4f}\t{entry.decode_s:.4f}\t{entry.stamp}\n"


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0
