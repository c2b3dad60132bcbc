"""The quick start as its user meets it: start-up, two jobs, long recordings; CPU time, wall time and memory.

    .venv/bin/python -m tools.bench.bench_recipe [--minutes 10,60]

A recording is the quick start's utterances one after the other, as often as it takes. Exits with 1 where two jobs give
another text than one, or where the CER of a recording is more than ``MOST_LOST`` percent above that of its utterances.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tools.bench.sides import ROOT, print_table

QUICK_START = ROOT / "egs/quickstart"
MOST_LOST = 2.0
START_UPS = 5  # measured in turns, of which the best counts
TORCH = "import torch"
FIRST = f"""
import funrecipe
model = funrecipe.load("{QUICK_START}/model")
print(model.transcribe("{QUICK_START}/data/wav/BAC009S0150W0034.flac").text)
"""


def spent(command: Sequence[str]) -> tuple[float, float, float]:
    """CPU seconds and wall seconds of a command with all it starts, and MB of the largest of its processes."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"bench_recipe: {' '.join(command)} failed:\n{said[-2000:]}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - begin, usage.ru_maxrss / 1024


def infer(data: Path, output: Path, *options: str) -> tuple[float, float, float]:
    command = ["bash", str(ROOT / "egs/asr/infer.sh"), f"--model={QUICK_START}/model", f"--data_dir={data}"]
    return spent([*command, f"--output_dir={output}", "--gpu_inference=false", "--stop_stage=2", *options])


def cer_of(output: Path) -> float:
    found = re.search(r"%WER ([\d.]+)", (output / "1best_recog/text.cer").read_text(encoding="utf-8"))
    if found is None:
        sys.exit(f"bench_recipe: no rate in {output}")
    return float(found[1])


def write_recording(folder: Path, minutes: int) -> None:
    """A data directory with one recording of so many minutes, and its text."""
    import numpy as np
    import soundfile

    from funrecipe.audio.io import read_audio

    texts = dict(line.split(maxsplit=1) for line in (QUICK_START / "data/text").read_text("utf-8").splitlines())
    waves = {key: read_audio(QUICK_START / f"data/wav/{key}.flac", sample_rate_hz=16000) for key in texts}
    keys: list[str] = []
    samples = 0
    while samples < minutes * 60 * 16000:
        keys.append(list(texts)[len(keys) % len(texts)])
        samples += len(waves[keys[-1]])
    folder.mkdir()
    soundfile.write(folder / "long.flac", np.concatenate([waves[key] for key in keys]), 16000)
    (folder / "wav.scp").write_text("long long.flac\n", encoding="utf-8")
    (folder / "text").write_text(f"long {' '.join(texts[key].strip() for key in keys)}\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", default="10", help="of the recordings, as 10,60 (default: %(default)s)")
    args = parser.parse_args()
    rows, is_right = [], True

    def add(what: str, cost: tuple[float, float, float], note: str = "") -> None:
        rows.append([what, f"{cost[0]:.1f}", f"{cost[1]:.1f}", f"{cost[2]:.0f}", note])

    in_turns = [[spent([sys.executable, "-c", code]) for code in (TORCH, FIRST)] for _ in range(START_UPS)]
    torch_cost, first_cost = map(min, zip(*in_turns))
    add("`import torch`", torch_cost)
    add("to the text of a first utterance", first_cost, f"{first_cost[0] - torch_cost[0]:.1f} s after `import torch`")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for jobs in ("1", "2"):
            cost = infer(QUICK_START / "data", work / jobs, f"--njob={jobs}")
            add(f"`infer.sh`, 40 utterances, {jobs} job{'s' * (jobs != '1')}", cost, f"CER {cer_of(work / jobs):.2f} %")
        is_right &= (work / "1/1best_recog/text").read_bytes() == (work / "2/1best_recog/text").read_bytes()
        apart = cer_of(work / "1")
        for minutes in map(int, filter(None, args.minutes.split(","))):
            write_recording(work / f"data{minutes}", minutes)
            cost = infer(work / f"data{minutes}", work / f"long{minutes}", "--njob=1")
            lost = cer_of(work / f"long{minutes}") - apart
            add(f"`infer.sh`, a recording of {minutes} minutes", cost, f"CER {lost:+.2f} % against its utterances")
            is_right &= lost <= MOST_LOST
    print_table("one thread a job", ["CPU s", "wall s", "MB of the largest process", ""], rows)
    print("results agree" if is_right else "results differ")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
