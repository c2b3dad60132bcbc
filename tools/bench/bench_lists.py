#!/usr/bin/env python3
"""What whole commands cost per utterance: checking, planning, merging, scoring and normalizing synthetic lists.

    python -m tools.bench.bench_lists [--sizes 1000000,10000000] [--commands plan,merge] [--shards 1000] [--dir FOLDER]

Per size it writes a data directory (13 characters per utterance, audio in archives, with utt2dur and utt2spk), plans
it, writes what workers would have written (7 % errors), and merges, scores and normalizes that. Each command is a
process of its own, whose CPU time and largest memory the system reports. Ends with 1 where a result is not the one
expected.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from funrecipe.jobs.plan import read_plan  # noqa: E402
from funrecipe.jobs.shard_files import REQUIRED, Done, done_line  # noqa: E402
from tools.bench.bench_scorer import corrupt  # noqa: E402
from tools.bench.sides import print_table  # noqa: E402

MODEL = Path(__file__).resolve().parents[2] / "egs/quickstart/model"
CHARACTERS = [chr(0x4E00 + i) for i in range(3755)]
SPEAKERS, ARCHIVES, LENGTH, ERROR_RATE, TEXTS = 500, 1000, 13, 0.07, 5000
COMMANDS = ("validate", "plan", "merge", "score", "speechio", "normalize")
PREPARING = ("plan", "merge")  # needed by those after them


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100000,1000000", help="utterances (default: %(default)s)")
    parser.add_argument("--commands", default=",".join(COMMANDS), help="of these (default: all)")
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--dir", type=Path, help="folder for the lists, 1.5 GB per million (default: a temporary one)")
    args = parser.parse_args()
    asked = args.commands.split(",")
    if unknown := set(asked) - set(COMMANDS):
        parser.error(f"--commands: {', '.join(sorted(unknown))} is not one of {', '.join(COMMANDS)}")
    rows, is_right = [], True
    for size in map(int, args.sizes.split(",")):
        folder = Path(tempfile.mkdtemp(dir=args.dir))
        try:
            costs, is_one_right = measure(folder, size, args.shards, asked)
        finally:
            shutil.rmtree(folder)
        is_right &= is_one_right
        cells = (f"{1e6 * cpu_s / size:.1f} µs, {peak_mb:.0f} MB" for cpu_s, peak_mb in costs)
        rows.append([f"{size:,} utterances", *cells])
    columns = ["stage 3" if name == "speechio" else f"`{name}`" for name in COMMANDS if name in asked]
    print_table(f"CPU time per utterance and largest memory, {args.shards} shards", columns, rows)
    print("results are those expected" if is_right else "results differ from those expected")
    return 0 if is_right else 1


def measure(folder: Path, size: int, shards: int, asked: Sequence[str]) -> tuple[list[tuple[float, float]], bool]:
    """CPU seconds and peak memory of each command, and whether the results are those expected."""
    texts = make_texts()
    data, out = folder / "data", folder / "out"
    recog = out / "1best_recog"
    write_data(data, folder, size, texts)
    arguments = {
        "validate": ["validate", f"--data_dir={data}"],
        "plan": ["plan", f"--model={MODEL}", f"--data_dir={data}", f"--output_dir={out}", f"--njob={shards}",
                 "--backend=slurm"],
        "merge": ["merge", f"--plan={out}"],
        "score": ["score", f"--results={recog}", f"--data_dir={data}", f"--plan={out}"],
        "speechio": ["score", f"--results={recog}", f"--data_dir={data}", f"--plan={out}", "--protocol=speechio"],
        "normalize": ["normalize", f"{data}/text", f"{out}/normalized"],
    }  # fmt: skip
    costs, errors = [], 0
    for name in COMMANDS:
        if name in (*asked, *PREPARING):
            cost = run(*arguments[name])
            costs += [cost] if name in asked else []
        if name == "plan":
            errors = decode(out, texts)
    is_right = all(count_lines(recog / name) == size for name in REQUIRED)
    if "score" in asked:
        said = last_bytes(recog / "text.cer")
        is_right &= f"Scored {size} sentences, 0 not present" in said and (errors > 0) == ("%WER 0.00" not in said)
    if "speechio" in asked:
        totals = json.loads((recog / "RESULTS.txt").read_text().splitlines()[0])
        is_right &= totals["num_eval_utts"] == size and (errors > 0) == (totals["num_utts_with_error"] > 0)
    return costs, is_right


def count_lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def last_bytes(path: Path) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 400))
        return file.read().decode(errors="replace")


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
