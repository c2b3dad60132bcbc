"""Damage run folders and kill runs, and see that nothing wrong is published.

    python -m tools.fuzz.runs [--damaged 500] [--kills 60] [--seed 1]

A folder is damaged in one to three places (a file cut off, with a hole, a flipped bit, lines lost, doubled or
exchanged, deleted, empty, a folder in its place) and the steps of ``infer.sh`` are taken again in it. Kills are
SIGKILL, at a random moment, of the recipe's shell, the launcher or a worker, or of all of them. What must hold: no
traceback, no step over 10 s, exit codes as documented, and after at most three runs of the same command the results
of the undisturbed run, byte for byte. Decoding is done by a stand-in that needs no weights (``tools.fuzz.stand_in``).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from funrecipe.cli import main as funrecipe
from funrecipe.errors import DataError, WorkerError
from funrecipe.jobs import local
from funrecipe.jobs.plan import Job, Plan

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "tests/data/parity/paraformer"
CODES = {0, 2, 3, 4, 5, 6, 130}
MOST_S = 10.0
TRIES = 3
NUM_UTTERANCES = 12
RESULTS = ("text", "token", "score", "timestamp", "text.cer")


def make_data(folder: Path) -> Path:
    """A data directory of short noises with made-up texts."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(5)
    scp, text = [], []
    for number in range(NUM_UTTERANCES):
        path = folder / f"{number}.wav"
        soundfile.write(path, generator.uniform(-0.1, 0.1, 400 + 100 * number), 16000)
        scp.append(f"u{number:02} {path}\n")
        text.append(f"u{number:02} 甲 乙 丙\n")
    (folder / "wav.scp").write_text("".join(scp))
    (folder / "text").write_text("".join(text))
    return folder


def stand_in_command(plan: Plan, jobs: list[Job]) -> list[str]:
    command = local_command(plan, jobs)
    at = command.index("funrecipe")
    return [*command[:at], "tools.fuzz.stand_in", *command[at + 2 :]]


local_command = local.worker_command


def steps(data: Path, out: Path) -> list[list[str]]:
    """What ``infer.sh`` does, up to the score."""
    plan = f"--plan={out / 'plan.json'}"
    about = [f"--data_dir={data}", plan]
    return [
        ["plan", f"--model={MODEL}", f"--data_dir={data}", f"--output_dir={out}", "--gpu_inference=false", "--njob=3"],
        ["launch", plan],
        ["merge", plan],
        ["score", f"--results={out / '1best_recog'}", *about],
        ["status", f"--data_dir={data}", "--", str(out)],
    ]


def run_steps(data: Path, out: Path, report: Callable[[str], None]) -> int:
    """The exit code of the first step that fails, or 0; ``report`` gets what must not be."""
    local.worker_command = stand_in_command  # type: ignore[assignment]
    for step in steps(data, out):
        said, started, code = io.StringIO(), time.monotonic(), 1
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = funrecipe(step)
            except SystemExit as ended:
                code = int(ended.code or 0)
            except BaseException as error:
                report(f"{step[0]}: {type(error).__name__}: {error}")
        if time.monotonic() - started > MOST_S:
            report(f"{step[0]}: took {time.monotonic() - started:.0f} s")
        if code not in CODES:
            report(f"{step[0]}: exit code {code}: {said.getvalue()[-300:]}")
        if "Traceback" in said.getvalue():
            report(f"{step[0]}: traceback: {said.getvalue()[-300:]}")
        if code:
            return code
    return 0


def results(out: Path) -> dict[str, bytes | None]:
    folder = out / "1best_recog"
    return {name: (folder / name).read_bytes() if (folder / name).is_file() else None for name in RESULTS}


def damage(out: Path, chance: random.Random) -> str:
    """Damage one file of a run; what was done."""
    files = sorted(p for p in out.rglob("*") if p.is_file() and not p.is_symlink() and p.name != ".lock")
    path = chance.choice(files)
    content = path.read_bytes()
    at = chance.randrange(len(content) + 1)
    length = chance.randrange(1, 40)
    lines = content.splitlines(keepends=True)
    kind = chance.choice(["cut", "hole", "flip", "lose", "double", "exchange", "delete", "empty", "folder", "middle"])
    if kind == "delete":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        chance.shuffle(lines)
        byte = bytes([content[at] ^ (1 << chance.randrange(8))]) if at < len(content) else b""
        new = {
            "cut": content[:at],
            "hole": content[:at] + b"\0" * length + content[at + length :],
            "flip": content[:at] + byte + content[at + 1 :],
            "lose": b"".join(lines[1:]),
            "double": b"".join([*lines, *lines[:1]]),
            "exchange": b"".join(lines),
            "empty": b"",
            "middle": content[:at] + content[at + length :],
        }
        path.write_bytes(new[kind])
    return f"{kind} {path.relative_to(out)}"


def damaged_run(
    data: Path, whole: Path, expected: dict[str, bytes | None], seed: int, found: multiprocessing.Queue
) -> None:
    """Damage one folder and rerun in it; called in a separate process, so that nothing stays."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="fuzz-run-") as name:
        out = Path(name) / "out"
        shutil.copytree(whole, out)
        done = [damage(out, chance) for _ in range(chance.randint(1, 3))]
        damaged = results(out)
        problems: list[str] = []
        for _ in range(TRIES):
            code = run_steps(data, out, problems.append)
            if code == 0 or (published := results(out))["text"] is None:
                pass
            elif published["text.cer"] not in (None, expected["text.cer"]):
                problems.append(f"exit code {code} beside another rate")
            if code == 0:
                break
        # A folder in place of a file does not come from a crash and is not ours to remove: it is reported.
        is_foreign = any(kind.startswith("folder") for kind in done)
        is_new = any(content not in (None, expected[name], damaged[name]) for name, content in results(out).items())
        if code in (DataError.exit_code, WorkerError.exit_code) and is_foreign and not is_new:
            pass
        elif code != 0:
            problems.append(f"not mended by {TRIES} runs: exit code {code}")
        elif results(out) != expected:
            wrong = [name for name, content in results(out).items() if content != expected[name]]
            problems.append(f"published others: {', '.join(wrong)}")
        found.put((seed, ", ".join(done), problems))


def damaged_runs(count: int, seed: int, work: Path) -> tuple[int, list[str]]:
    """Number of folders that were mended or needed nothing, and the faults."""
    data, whole = make_data(work / "data"), work / "whole"
    faults: list[str] = []
    if run_steps(data, whole, faults.append) or faults:
        raise SystemExit(f"the undisturbed run fails: {faults}")
    expected = results(whole)
    good = 0
    for number in range(count):
        queue: multiprocessing.Queue = multiprocessing.Queue()
        process = multiprocessing.Process(target=damaged_run, args=(data, whole, expected, seed + number, queue))
        process.start()
        process.join(timeout=TRIES * 5 * MOST_S)
        if process.is_alive():
            process.kill()
            faults.append(f"seed {seed + number}: hangs")
            continue
        case, done, problems = queue.get(timeout=5) if process.exitcode == 0 else (seed + number, "?", ["died"])
        faults += [f"seed {case}: {done}: {problem}" for problem in problems]
        good += not problems
    return good, faults


def recipe(data: Path, out: Path, python: Path) -> subprocess.Popen[bytes]:
    command = ["bash", str(ROOT / "egs/asr/infer.sh"), f"--model={MODEL}", f"--data_dir={data}", f"--output_dir={out}"]
    environment = {**os.environ, "PYTHON": str(python), "FUZZ_SLEEP_S": "0.02", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, "--gpu_inference=false", "--njob=3", "--batch_size=1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
        start_new_session=True,
    )  # fmt: skip


def python_with_stand_in(folder: Path) -> Path:
    """A Python for the recipe whose launcher starts stand-ins."""
    script = folder / "python"
    script.write_text(
        "#!/bin/bash\n"
        f'[ "${{3:-}}" != launch ] || exec "{sys.executable}" -m tools.fuzz.runs --launch "${{@:4}}"\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    script.chmod(0o755)
    return script


def processes_of(out: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str(out).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


def killed_run(data: Path, out: Path, python: Path, duration_s: float, chance: random.Random) -> tuple[str, bytes, int]:
    """Start a run, kill some of it at a random moment, run it again to its end: what was killed, output, exit code."""
    process = recipe(data, out, python)
    time.sleep(chance.uniform(0.0, duration_s))
    running = processes_of(out)
    victims = [process.pid] if chance.random() < 0.3 else running if chance.random() < 0.3 else running[-1:]
    if chance.random() < 0.3 and running:
        victims = [chance.choice(running)]
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + MOST_S
    while processes_of(out) and time.monotonic() < deadline:
        time.sleep(0.1)
    what = f"{len(victims)} of {len(running)} processes"
    if processes_of(out):
        return f"{what}: some live on", b"", 1
    again = recipe(data, out, python)
    said, _ = again.communicate(timeout=120)
    return what, said, again.returncode


def killed_runs(count: int, seed: int, work: Path) -> tuple[int, list[str]]:
    data, python = make_data(work / "data_killed"), python_with_stand_in(work)
    started = time.monotonic()
    process = recipe(data, work / "undisturbed", python)
    said, _ = process.communicate()
    duration_s = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"the undisturbed run fails: {said.decode()}")
    expected = results(work / "undisturbed")
    good, faults = 0, []
    for number in range(count):
        chance, out = random.Random(seed + number), work / f"killed{number}"
        what, said, code = killed_run(data, out, python, duration_s, chance)
        if code or b"Traceback" in said or results(out) != expected:
            faults.append(f"seed {seed + number}: {what}: exit code {code}: {said[-300:].decode(errors='replace')}")
        else:
            good += 1
        shutil.rmtree(out, ignore_errors=True)
    return good, faults


def main() -> int:
    if sys.argv[1:2] == ["--launch"]:  # of python_with_stand_in
        local.worker_command = stand_in_command  # type: ignore[assignment]
        return funrecipe(["launch", *sys.argv[2:]])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--damaged", type=int, default=500, help="run folders to damage (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=60, help="runs to kill (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="fuzz-runs-") as work:
        good, faults = damaged_runs(args.damaged, args.seed, Path(work)) if args.damaged else (0, [])
        counts["damaged folders mended"] = good
        good, more = killed_runs(args.kills, args.seed, Path(work)) if args.kills else (0, [])
        counts["killed runs finished"] = good
    for fault in faults + more:
        print(fault)
    print(f"{counts['damaged folders mended']} of {args.damaged} damaged folders give the undisturbed results")
    print(f"{counts['killed runs finished']} of {args.kills} killed runs give the undisturbed results")
    return int(bool(faults or more))


if __name__ == "__main__":
    sys.exit(main())
