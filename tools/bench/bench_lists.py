#!/usr/bin/env python3
"""What whole commands cost per utterance: planning, merging, scoring and normalizing synthetic lists.

    python -m tools.bench.bench_lists [--sizes 1000000,10000000] [--shards 1000] [--dir FOLDER]

Per size it writes a data directory (13 characters per utterance, audio in archives, with utt2dur and utt2spk), plans
it, writes what workers would have written (7 % errors), and merges, scores and normalizes that. Each command is a
process of its own, whose CPU time and largest memory the system reports. Ends with 1 where a result is not the one
expected.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from funrecipe.jobs.plan import read_plan  # noqa: E402
from funrecipe.jobs.shard_files import REQUIRED, Done, done_line  # noqa: E402
from tools.bench.bench_scorer import corrupt  # noqa: E402

MODEL = Path(__file__).resolve().parents[2] / "egs/quickstart/model"
CHARACTERS = [chr(0x4E00 + i) for i in range(3755)]
SPEAKERS, ARCHIVES, LENGTH, ERROR_RATE, TEXTS = 500, 1000, 13, 0.07, 5000
COMMANDS = ("plan", "merge", "score", "normalize")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100000,1000000", help="utterances (default: %(default)s)")
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--dir", type=Path, help="folder for the lists, 1.5 GB per million (default: a temporary one)")
    args = parser.parse_args()
    print("| utterances | " + " | ".join(f"{name}: µs each, MB" for name in COMMANDS) + " |")
    print("|---" * (len(COMMANDS) + 1) + "|")
    is_right = True
    for size in map(int, args.sizes.split(",")):
        folder = Path(tempfile.mkdtemp(dir=args.dir))
        try:
            costs, is_one_right = measure(folder, size, args.shards)
        finally:
            shutil.rmtree(folder)
        is_right &= is_one_right
        cells = " | ".join(f"{1e6 * cpu_s / size:.1f}, {peak_mb:.0f}" for cpu_s, peak_mb in costs)
        print(f"| {size:,} | {cells} |", flush=True)
    return 0 if is_right else 1


def measure(folder: Path, size: int, shards: int) -> tuple[list[tuple[float, float]], bool]:
    """CPU seconds and peak memory of each command, and whether the results are those expected."""
    texts = make_texts()
    data, out = folder / "data", folder / "out"
    write_data(data, folder, size, texts)
    costs = [run("plan", f"--model={MODEL}", f"--data_dir={data}", f"--output_dir={out}", f"--njob={shards}",
                 "--backend=slurm")]  # fmt: skip
    errors = decode(out, texts)
    costs.append(run("merge", f"--plan={out}"))
    costs.append(run("score", f"--results={out}/1best_recog", f"--data_dir={data}", f"--plan={out}"))
    costs.append(run("normalize", f"{data}/text", f"{out}/normalized"))
    with open(out / "1best_recog/text.cer", "rb") as file:
        file.seek(-200, os.SEEK_END)
        tail = file.read().decode(errors="replace")
    is_right = f"Scored {size} sentences, 0 not present" in tail and (errors > 0) == ("%WER 0.00" not in tail)
    return costs, is_right


def make_texts() -> list[tuple[str, str]]:
    """Pairs of a text and what is recognized of it."""
    draw = random.Random(1)
    refs = ["".join(draw.choices(CHARACTERS, k=LENGTH)) for _ in range(TEXTS)]
    return [(ref, "".join(corrupt(ref, ERROR_RATE, draw))) for ref in refs]


def write_data(data: Path, folder: Path, size: int, texts: list[tuple[str, str]]) -> None:
    data.mkdir()
    for number in range(ARCHIVES):
        (folder / f"raw_wav.{number}.ark").write_bytes(b"x")
    with (
        open(data / "wav.scp", "w", encoding="utf-8") as scp,
        open(data / "text", "w", encoding="utf-8") as text,
        open(data / "utt2dur", "w", encoding="utf-8") as durations,
        open(data / "utt2spk", "w", encoding="utf-8") as speakers,
    ):
        for n in range(size):
            key = f"speaker{n * SPEAKERS // size:04d}-{n:09d}"
            scp.write(f"{key} {folder}/raw_wav.{n * ARCHIVES // size}.ark:{n % 10000 * 12345}\n")
            text.write(f"{key} {texts[n % TEXTS][0]}\n")
            durations.write(f"{key} {2 + n * 7919 % 1000 / 100}\n")
            speakers.write(f"{key} speaker{n * SPEAKERS // size:04d}\n")


def decode(out: Path, texts: list[tuple[str, str]]) -> int:
    """Write what the workers of the plan in ``out`` would write; the number of wrong texts."""
    plan, errors = read_plan(out), 0
    for job in plan.jobs:
        folder = plan.shard_folder(job.number)
        (folder / "1best_recog").mkdir(parents=True)
        columns: dict[str, list[bytes]] = {name: [] for name in (*REQUIRED, "done")}
        for entry in plan.entries(job.number):
            ref, hyp = texts[int(entry.id[-9:]) % TEXTS]
            errors += ref != hyp
            values = {"text": hyp, "token": " ".join(hyp), "score": f"{-len(hyp) / 7:.6f}"}
            lines = {name: f"{entry.id} {value}\n".encode() for name, value in values.items()}
            for name, line in lines.items():
                columns[name].append(line)
            done = Done(entry.duration_s or 0.0, 0.1, entry.stamp)
            columns["done"].append(done_line(entry.id.encode(), done, lines))
        for name in REQUIRED:
            (folder / "1best_recog" / name).write_bytes(b"".join(columns[name]))
        (folder / "done").write_bytes(b"".join(columns["done"]))
    return errors


def run(*arguments: str) -> tuple[float, float]:
    """CPU seconds and peak MB of a command."""
    before = time.monotonic()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "funrecipe", *arguments],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        raise SystemExit(f"{arguments[0]} ended with {os.waitstatus_to_exitcode(status)}")
    cpu_s, peak_mb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000
    wall_s = time.monotonic() - before
    print(f"{arguments[0]}: {cpu_s:.1f} s of CPU in {wall_s:.1f} s, {peak_mb:.0f} MB", file=sys.stderr, flush=True)
    return cpu_s, peak_mb


if __name__ == "__main__":
    sys.exit(main())
