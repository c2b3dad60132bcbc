"""The progress of a run, and its summary once it has ended: what ``funrecipe status`` shows."""

from __future__ import annotations

import filecmp
import os
import re
from pathlib import Path

from funrecipe.errors import DataError
from funrecipe.jobs.launch import read_launches
from funrecipe.jobs.plan import Plan
from funrecipe.jobs.progress import format_duration
from funrecipe.jobs.run_record import check_published
from funrecipe.jobs.shard_files import RESULTS, read_done, read_failed
from funrecipe.jobs.status import read_status
from funrecipe.score.result_folder import ResultFolder

END_BYTES = 2000  # of text.cer, which hold the rate
COUNTS = ("errors", "tokens", "insertions", "deletions", "substitutions")  # in the JSON, in the order of text.cer


def summary(plan: Plan, data_dir: Path | None = None) -> list[str]:
    """Lines ``name value`` of what is known so far; times are of all launches of this plan together."""
    done, failed, audio_s, compute_s = progress(plan)
    wall_s, launched_audio_s = read_launches(plan)
    lines = [
        f"utterances        {done} of {plan.num_utterances} decoded, {failed} failed",
        f"audio             {audio_s / 3600:.3f} h ({format_duration(audio_s)})",
    ]
    if launched_audio_s and wall_s:
        lines += [
            f"wall time         {format_duration(wall_s)}, model loading included",
            f"real-time factor  {wall_s / launched_audio_s:.4f}",
            f"throughput        {launched_audio_s / wall_s:.1f} s of audio per second",
        ]
    if audio_s and compute_s:
        lines.append(f"compute           {compute_s / audio_s:.4f} s per second of audio in one job")
    if rate := published_rate(plan, data_dir or Path(plan.data_dir)):
        lines.append(f"CER               {rate}")
    options = "".join(f", {name} {value}" for name, value in plan.options.items())
    return [*lines, f"model             {plan.model.weights}", f"plan              {plan.digest[:12]}{options}"]


def progress(plan: Plan) -> tuple[int, int, float, float]:
    """Utterances decoded and failed, seconds of audio and of computing: of published shards by their files, of others
    by what their workers last said (and then without the computing)."""
    num_done = num_failed = 0
    audio_s = compute_s = 0.0
    for job in plan.jobs:
        folder = plan.shard_folder(job.number)
        done, status = read_done(folder / "done"), read_status(folder)
        if len(done) < status.done and status.code is None:
            num_done += status.done
            num_failed += status.failed
            audio_s += status.done_audio_s
        else:
            num_done += len(done)
            num_failed += len(read_failed(folder / "failed.scp").keys() - done.keys())
            audio_s += sum(entry.audio_s for entry in done.values())
            compute_s += sum(entry.decode_s for entry in done.values())
    return num_done, num_failed, audio_s, compute_s


def published_rate(plan: Plan, data_dir: Path) -> str | None:
    """The rate of ``text.cer``, with its counts: the part of its ``%WER`` line after the name. None where it was
    computed from other texts than those that are there now, is of another plan, or is not what the JSON beside it
    says."""
    results = plan.output_dir / RESULTS
    try:
        check_published(plan)
        with open(results / "text.cer", "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - END_BYTES))
            text = file.read().decode("utf-8", "replace")
        pairs = ((results / "text.ref", data_dir / "text"), (results / "text.proc", results / "text"))
        is_current = all(filecmp.cmp(*pair, shallow=False) for pair in pairs)
        written = ResultFolder(plan.output_dir, results).summary()
    except (OSError, DataError):
        return None
    rates = re.findall(r"^%WER (\S+) (\[.*\])$", text, re.MULTILINE)
    if not rates or not is_current or re.findall(r"\d+", rates[-1][1]) != [str(written.get(name)) for name in COUNTS]:
        return None
    return f"{rates[-1][0]} % {rates[-1][1]}"
