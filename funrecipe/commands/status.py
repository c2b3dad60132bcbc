"""``funrecipe status``: how far a run is, and in the end its summary."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from funrecipe.jobs.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output_dir", type=Path, help="output_dir of infer.sh")
    parser.add_argument("--data_dir", type=Path, help="a score counts only for the texts there (default: the plan's)")


def run(args: argparse.Namespace) -> None:
    from funrecipe.jobs.plan import read_plan

    print("\n".join(summary(read_plan(args.output_dir), args.data_dir)))


def summary(plan: Plan, data_dir: Path | None = None) -> list[str]:
    """Lines ``name value`` of what is known so far; times are of all launches of this plan together."""
    from funrecipe.jobs.launch import read_launches
    from funrecipe.jobs.results import read_done, read_failed
    from funrecipe.jobs.wording import count, format_duration

    done = {key: entry for job in plan.jobs for key, entry in read_done(plan.shard_folder(job.number) / "done").items()}
    failed = {
        key for job in plan.jobs for key in read_failed(plan.shard_folder(job.number) / "failed.scp")
    } - done.keys()
    audio_s = sum(entry.audio_s for entry in done.values())
    compute_s = sum(entry.decode_s for entry in done.values())
    wall_s, launched_audio_s = read_launches(plan)
    lines = [
        f"utterances        {len(done)} of {plan.num_utterances} decoded, {len(failed)} failed",
        f"audio             {audio_s / 3600:.3f} h ({format_duration(audio_s)})",
    ]
    if launched_audio_s and wall_s:
        lines += [
            f"wall time         {format_duration(wall_s)}, model loading included",
            f"real-time factor  {wall_s / launched_audio_s:.4f}",
            f"throughput        {launched_audio_s / wall_s:.1f} s of audio per second",
        ]
    if audio_s:
        threads = count(plan.threads, "thread")
        lines.append(f"compute           {compute_s / audio_s:.4f} s per second of audio in one job ({threads})")
    cer = _rate(plan, data_dir or Path(plan.data_dir))
    if cer:
        lines.append(f"CER               {cer}")
    lines.append(f"model             {plan.model.weights}")
    return lines


def _rate(plan: Plan, data_dir: Path) -> str | None:
    """The rate of ``text.cer``, with its counts: the part of its ``%WER`` line behind the name. None where it was
    computed from other texts than those that are there now."""
    from funrecipe.jobs.results import RESULTS, UNFINISHED

    results = plan.output_dir / RESULTS
    try:
        lines = (results / "text.cer").read_text(encoding="utf-8").splitlines()
        current = (
            (results / "text.ref").read_bytes() == (data_dir / "text").read_bytes()
            and (results / "text.proc").read_bytes() == (results / "text").read_bytes()
            and not (plan.output_dir / UNFINISHED).exists()
        )
    except OSError:
        return None
    rate = [line.removeprefix("%WER ") for line in lines if line.startswith("%WER ")]
    return f"{rate[-1].split(' ', 1)[0]} % {rate[-1].split(' ', 1)[1]}" if rate and current else None
