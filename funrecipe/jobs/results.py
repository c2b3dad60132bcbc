"""Results on disk: a worker's attempt at a shard, the published shard, the merge into ``1best_recog/``."""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import random
import secrets
import shutil
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from funrecipe.data.list_file import CONTROL
from funrecipe.errors import IncompleteRunError, WorkerError, WriteError, count, list_problems
from funrecipe.files import atomic_write, remove_leftovers, temporary_name, write_text, writing
from funrecipe.jobs.merge_files import merged_lines
from funrecipe.jobs.shard_files import (
    ATTEMPT,
    FILES,
    REQUIRED,
    RESULTS,
    Done,
    Record,
    SortedShard,
    load_records,
    read_failed,
    to_bytes,
    to_text,
    write_failed,
)
from funrecipe.shared_files import sync_folder

REPORTS = ("report.html", "RESULTS.md")  # of stage 4; what they say is about RESULTS
UNFINISHED = ".stage1_unfinished"  # stage 1 was started again over published results and has not finished
DIGEST_NAME = "plan.digest"  # in RESULTS: the plan that they are of
PUBLISH_TRIES = 5
NO_MEMORY = "out of memory"  # how the reason of such a failure begins


@dataclass
class MergeReport:
    """What a merge published.

    Attributes:
        failed: id -> reason.
        num_empty: hypotheses without text.
        num_multichannel, most_channels: utterances whose audio has several channels, and the most that one has.
    """

    num_utterances: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    num_empty: int = 0
    num_multichannel: int = 0
    most_channels: int = 1

    def count(self, record: Record) -> None:
        """Add what is about one decoded utterance."""
        self.num_empty += record.lines["text"] == record.key + b" \n"
        self.num_multichannel += record.done.channels > 1
        self.most_channels = max(self.most_channels, record.done.channels)


def is_shard_complete(folder: Path, stamps: Mapping[str, str]) -> bool:
    """True if there is a result of every utterance, decoded from the audio as it is now, and nothing else."""
    shard = SortedShard(folder)
    found = {to_text(record.key): record.done.stamp for record in shard}
    return shard.is_clean and found == stamps


def is_shard_accounted_for(folder: Path, stamps: Mapping[str, str]) -> bool:
    """True if there is a result of every utterance, or the reason why there is none."""
    found = {
        to_text(record.key) for record in SortedShard(folder) if stamps.get(to_text(record.key)) == record.done.stamp
    }
    return not stamps.keys() - found - read_failed(folder / "failed.scp").keys()


class ShardWriter:
    """Writes the results of one shard in a separate folder, which starts with what earlier attempts have.

    As a context manager it publishes what it has when the block ends without an error. What it has appended counts for
    the next attempt even where it could not (a kill, a full disk).

    Args:
        folder: ``output.N``.
        stamps: id -> stamp of its audio, for every utterance of the shard; earlier results of other ids or of audio
            that has changed since are dropped.
        channels: id -> number of channels of its audio where there are several; filled while the shard is decoded.
    Attributes:
        done, failed: by id what is decoded, and why others are not.
    Raises:
        WorkerError: the disk is full or the folder cannot be written.
    """

    def __init__(
        self, folder: Path, stamps: Mapping[str, str], channels: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        self.folder, self._stamps, self._channels = folder, stamps, channels
        host = socket.gethostname().split(".")[0] or "host"
        self.attempt = folder / f"{ATTEMPT}{host}-{secrets.token_hex(4)}"
        self._files: dict[str, BinaryIO] = {}
        self.done: dict[str, Done] = {}
        self.failed: dict[str, str] = {}
        with writing(folder):
            (self.attempt / RESULTS).mkdir(parents=True)
        for earlier in [folder, *(path for path in folder.glob(f"{ATTEMPT}*") if path != self.attempt)]:
            self._take_over(earlier)

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
        is_estimated: bool = False,
    ) -> None:
        """Append one utterance to every file; ``nbest``: (tokens, text, score) each. It counts once it is flushed."""
        values = {"text": _in_a_line(text), "token": _in_a_line(" ".join(tokens)), "score": f"{score:.6f}"}
        if timestamp_ms is not None:
            values["timestamp"] = json.dumps([list(pair) for pair in timestamp_ms])
        if nbest is not None:
            rows = [{"text": text, "token": " ".join(t), "score": round(score, 6)} for t, text, score in nbest]
            values["nbest"] = json.dumps(rows, ensure_ascii=False)
        if rich is not None:
            values["rich"] = json.dumps(dict(rich), ensure_ascii=False)
        if is_estimated:
            values["estimated"] = "true"
        lines = {name: to_bytes(f"{key} {value}\n") for name, value in values.items()}
        done = Done(audio_s, decode_s, self._stamps.get(key, ""), self._channels.get(key, 1))
        self._add(Record(to_bytes(key), done, lines))

    def fail(self, key: str, audio: str, reason: str) -> None:
        """Record an utterance that cannot be decoded, and why."""
        reason = " ".join(reason.split())
        self._append("failed.scp", to_bytes(f"{key}\t{audio}\t{reason}\n"))
        self.failed[key] = reason

    def flush(self) -> None:
        """Flush to the operating system, ``done`` last; a killed worker loses only what it wrote later."""
        for name in sorted(self._files, key=lambda name: name == "done"):
            with writing(self.attempt / name):
                self._files[name].flush()

    def sync(self) -> None:
        """Make what was written durable, and visible to other machines."""
        self.flush()
        for name, file in self._files.items():
            with writing(self.attempt / name):
                os.fsync(file.fileno())

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
        write_text(self.folder / RESULTS / "rtf", lines)

    def publish(self) -> None:
        """Write the shard's files from this attempt and earlier ones, sorted by id.

        Another worker may publish its attempt at the same time; then files of both stand side by side. So they are read
        back, and a worker that finds anything unexpected takes over what the other published and writes everything
        again; a published result is never withdrawn.
        """
        for attempt in range(PUBLISH_TRIES):
            self._take_over(self.folder)
            self._close()
            if not (self.attempt / RESULTS).is_dir():
                raise WorkerError("another worker has taken over", where=str(self.attempt), hint="rerun")
            self._write_published()
            if self._is_published():
                shutil.rmtree(self.attempt, ignore_errors=True)
                return
            time.sleep(random.random() * 0.1 * 2**attempt)  # so that the two do not collide again
        raise WorkerError("the files read back are not those written", where=str(self.folder), hint="rerun")

    def _write_published(self) -> None:
        """Replace the shard's files by those of this attempt; ``done``, without which they do not count, comes last."""
        for name in (*(f"{RESULTS}/{name}" for name in FILES), "failed.scp", "done"):
            _sort_into(self.attempt / name, self.folder / name, or_empty=name == "done")
        for folder in (self.folder / RESULTS, self.folder):
            sync_folder(folder)

    def _is_published(self) -> bool:
        shard = SortedShard(self.folder)
        return {to_text(record.key) for record in shard} >= self.done.keys() and shard.is_clean

    def _take_over(self, earlier: Path) -> None:
        for record in load_records(earlier):
            key = to_text(record.key)
            if key not in self.done and self._stamps.get(key) == record.done.stamp:
                self._add(record)

    def _add(self, record: Record) -> None:
        for name, line in record.lines.items():
            self._append(f"{RESULTS}/{name}", line)
        self._append("done", record.done_line)
        self.done[to_text(record.key)] = record.done

    def _append(self, name: str, line: bytes) -> None:
        path = self.attempt / name
        with writing(path):
            if name not in self._files:
                self._files[name] = path.open("ab")
            self._files[name].write(line)

    def _close(self) -> None:
        for name, file in self._files.items():
            with writing(self.attempt / name):
                file.close()
        self._files.clear()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.publish()
            return
        with contextlib.suppress(WorkerError):  # the error under way was raised first
            self._close()


def merge_shards(
    shards: Iterable[tuple[Path, Mapping[str, str]]],
    output_dir: Path,
    *,
    max_failed: int = 0,
    digest: str = "",
) -> MergeReport:
    """Publish ``output_dir/1best_recog`` if every utterance is decoded or, up to ``max_failed``, listed as failed.

    Args:
        shards: per shard its folder and the ids that it had to decode, with the stamps of their audio. One shard is
            looked at after the other; the lines are then merged as they are read.
        digest: of the plan, recorded with the results.
    Raises:
        IncompleteRunError: ids are missing, damaged or too many failed; nothing is published, and what an earlier run
            had published is removed.
    """
    failed: dict[str, tuple[str, str]] = {}
    problems: list[str] = []
    folders: list[Path] = []
    report = MergeReport()
    for folder, stamps in shards:
        missing = _look_through(folder, stamps, report)
        reasons = read_failed(folder / "failed.scp") if missing else {}
        failed.update({key: reasons[key] for key in missing if key in reasons})
        problems += [f"{folder / RESULTS}: '{key}' is missing or damaged" for key in missing if key not in reasons]
        folders.append(folder)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_failed(output_dir / "failed.scp", failed)
    if problems:
        unpublish(output_dir)
        raise IncompleteRunError(
            f"{count(len(problems), 'problem')} in the shards, nothing was published:\n{list_problems(problems)}",
            where=str(output_dir),
            hint="run the same command again; what is decoded is kept",
        )
    _refuse_failures(failed, max_failed, report.num_utterances, output_dir)
    _publish(output_dir, folders, digest)
    for folder in folders:  # what workers that were killed left behind
        remove_leftovers(folder, folder / RESULTS)
        for attempt in folder.glob(f"{ATTEMPT}*"):
            shutil.rmtree(attempt, ignore_errors=True)
    report.failed = {key: reason for key, (_, reason) in failed.items()}
    return report


def _refuse_failures(
    failed: Mapping[str, tuple[str, str]], max_failed: int, num_utterances: int, output_dir: Path
) -> None:
    """Raise IncompleteRunError unless the failures are few enough to be accepted as deletions.

    A failure for lack of memory says nothing about the audio and is never accepted.
    """
    starved = [key for key, (_, reason) in failed.items() if reason.startswith(NO_MEMORY)]
    if not starved and len(failed) <= max_failed:
        return
    unpublish(output_dir)
    reasons = [f"{key}: {reason} ({audio})" for key, (audio, reason) in sorted(failed.items())]
    hint = f"{len(starved)} of them ran out of memory: rerun with fewer jobs (--njob) or more memory for each"
    place = output_dir / "failed.scp"
    raise too_many_failed(
        len(failed), f"{num_utterances} utterances", reasons, where=place, hint=hint if starved else None
    )


def too_many_failed(
    number: int, total: str, reasons: Sequence[str] = (), *, where: Path, hint: str | None = None
) -> IncompleteRunError:
    """The error for more failures than ``--max_failed`` accepts.

    Args:
        total: such as ``8 utterances``.
        reasons: ``id: reason`` of each, where they are known.
    """
    what = f"{number} of {total} failed, nothing was published"
    return IncompleteRunError(
        f"{what}:\n{list_problems(reasons)}" if reasons else what,
        where=str(where),
        hint=hint or f"fix the audio and rerun, or pass --max_failed {number} to accept the failures",
    )


def _look_through(folder: Path, stamps: Mapping[str, str], report: MergeReport) -> list[str]:
    """The ids of one shard that have no result; the others are counted. Lines that do not count leave its files."""
    missing = {to_bytes(key): stamp for key, stamp in stamps.items()}
    keep: set[bytes] = set()
    shard, is_clean = SortedShard(folder), True
    for record in shard:
        if missing.get(record.key) == record.done.stamp:
            del missing[record.key]
            keep.add(record.key)
            report.count(record)
        else:
            is_clean = False
    if not (is_clean and shard.is_clean) and (folder / "done").exists():
        _rewrite(folder, keep)
    report.num_utterances += len(stamps)
    return sorted(map(to_text, missing))


def _rewrite(folder: Path, keep: set[bytes]) -> None:
    """Keep only the lines of results that count; an id is in each file once."""
    records = [record for record in SortedShard(folder) if record.key in keep]
    for name in FILES:
        lines = [record.lines[name] for record in records if name in record.lines]
        if lines or name in REQUIRED:
            _write_bytes(folder / RESULTS / name, lines)
        else:
            (folder / RESULTS / name).unlink(missing_ok=True)
    _write_bytes(folder / "done", [record.done_line for record in records])


def unpublish(output_dir: Path) -> None:
    """Remove published results and the reports on them, so that an old number is never read as this run's."""
    forget_reports(output_dir)
    with writing(output_dir / RESULTS):
        if (output_dir / RESULTS).exists():
            gone = temporary_name(output_dir / RESULTS)
            os.replace(output_dir / RESULTS, gone)
            shutil.rmtree(gone, ignore_errors=True)


def forget_reports(output_dir: Path) -> None:
    """Remove the reports, whose numbers are no longer those of the results."""
    with writing(output_dir):
        for name in REPORTS:
            (output_dir / name).unlink(missing_ok=True)


def _publish(output_dir: Path, folders: Sequence[Path], digest: str) -> None:
    """Make ``1best_recog`` under another name, then rename. Results equal to those published leave them (and the
    scores beside them) alone."""
    published = output_dir / RESULTS
    new = temporary_name(published)
    try:
        with writing(published):
            new.mkdir(parents=True)
            for name in FILES:
                parts = [path for folder in folders if (path := folder / RESULTS / name).exists()]
                if not _merge_lines(parts, new / name) and name not in REQUIRED:
                    (new / name).unlink()
            if digest:
                _write_bytes(new / DIGEST_NAME, [to_bytes(f"{digest}\n")])
            if all(_is_same(published / name, new / name) for name in FILES):
                if digest:
                    os.replace(new / DIGEST_NAME, published / DIGEST_NAME)
                shutil.rmtree(new)
            else:
                sync_folder(new)
                unpublish(output_dir)
                os.replace(new, published)
                sync_folder(output_dir)
    except WriteError:
        shutil.rmtree(new, ignore_errors=True)
        unpublish(output_dir)
        raise


def _merge_lines(parts: Sequence[Path], target: Path) -> bool:
    """Merge files sorted by id into one; True if it has lines. Whole lines sort as their ids do: the space that ends
    an id sorts before any character of one."""
    with atomic_write(target, "wb", is_durable=True) as out:
        for lines in merged_lines(parts):
            out.writelines(lines)
    return target.stat().st_size > 0


def _sort_into(source: Path, target: Path, *, or_empty: bool = False) -> None:
    """Publish the lines of ``source``, sorted by id; without a source the target goes, or is empty."""
    if source.exists():
        with open(source, "rb") as file:
            _write_bytes(target, sorted(file))
    elif or_empty or target.name in REQUIRED:
        _write_bytes(target, [])
    else:
        target.unlink(missing_ok=True)


def _write_bytes(path: Path, lines: Iterable[bytes]) -> None:
    with atomic_write(path, "wb", is_durable=True) as file:
        file.writelines(lines)


def _is_same(left: Path, right: Path) -> bool:
    if not left.exists() or not right.exists():
        return left.exists() == right.exists()
    return filecmp.cmp(left, right, shallow=False)


def _in_a_line(value: str) -> str:
    """``value`` with blanks for control characters, which a vocabulary may have and a list may not."""
    return " ".join(CONTROL.sub(" ", value).split()) if CONTROL.search(value) else value


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0
