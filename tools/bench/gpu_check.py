"""Everything about a GPU that can only be checked on one, in one run and one table.

    python -m tools.bench.gpu_check [--work_dir DIR] [--peer_python OTHER_VENV/bin/python] [--utterances 4000]

A model of Paraformer-large's size with random weights decodes real utterances, those of the quick start listed again
and again, through ``egs/asr/infer.sh`` with one worker, and is trained for a few updates. The figures of speed are
seconds of audio per second of the worker's loop, or of FunASR's ``generate``. Exits with 1 if a check fails, and with 2
where there is no GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tools.bench.sides import ROOT, machine

DATA = ROOT / "egs/quickstart/data"
LEFT_BYTES = 3 << 30  # what the hog leaves of the memory of the GPU
TRAIN_SECONDS = 1200  # of audio in a batch
UPDATES = 8
SHORTEST_STEP_S = 20.0
LOG_END = 1500  # characters of a log that are shown
NO_PEER = "not measured: --peer_python names no environment with FunASR"
HOG = """
import sys, time, torch
free, _ = torch.cuda.mem_get_info()
held = torch.empty(max(0, free - int(sys.argv[1])), dtype=torch.uint8, device="cuda")
print("holding", flush=True)
time.sleep(600)
"""
FUNASR = """
import sys, time, torch
from funasr import AutoModel
folder, batch_size, precision, *paths = sys.argv[1:]
model = AutoModel(model=folder, device="cuda", disable_update=True, disable_pbar=True, log_level="ERROR")
settings = {"batch_size": int(batch_size), **({"bf16": True} if precision == "bf16" else {})}
model.generate(input=paths[:8], **settings)
torch.cuda.synchronize()
started = time.perf_counter()
model.generate(input=paths, **settings)
torch.cuda.synchronize()
print("seconds", time.perf_counter() - started)
"""


class Checks:
    """The rows of the table, and the runs that they share."""

    def __init__(self, args: argparse.Namespace, work: Path) -> None:
        self.work, self.peer, self.count = work, args.peer_python, args.utterances
        self.rows: list[tuple[str, str, str, bool | None]] = []
        self.deadline = time.monotonic() + 60 * args.minutes
        self.audio_s, self.durations_s = 0.0, dict[str, float]()
        self.times: dict[str, float] = {}

    def add(self, what: str, figure: str, wanted: str = "", fine: bool | None = None) -> None:
        self.rows.append((what, figure, wanted, fine))
        print(f"{'' if fine is None else 'ok ' if fine else 'NO '}{what}: {figure} {wanted}", file=sys.stderr)

    def prepare(self) -> None:
        """The model, and the list in its own order and in another."""
        import soundfile

        from tools.bench.large_model import OFFLINE, make_folder

        (self.work / "model").mkdir(parents=True, exist_ok=True)
        make_folder(self.work / "model", OFFLINE)
        paths = [DATA / line.split(None, 1)[1] for line in (DATA / "wav.scp").read_text().splitlines()]
        texts = [line.partition(" ")[2] for line in (DATA / "text").read_text().splitlines()]
        chosen = [number % len(paths) for number in range(self.count)]
        self.durations_s = {str(path): soundfile.info(str(path)).duration for path in paths}
        self.audio_s = sum(self.durations_s[str(paths[n])] for n in chosen)
        self.paths = [str(paths[n]) for n in chosen]
        for name, order in (("data", chosen), ("train", chosen), ("validation", chosen[:20])):
            folder = self.work / ("data" if name == "data" else f"corpus/{name}")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "wav.scp").write_text("".join(f"u{i:06} {paths[n]}\n" for i, n in enumerate(order)))
            (folder / "text").write_text("".join(f"u{i:06} {texts[n]}\n" for i, n in enumerate(order)))

    @property
    def left_s(self) -> float:
        return self.deadline - time.monotonic()

    def run(self, command: Sequence[str], name: str) -> None:
        """Run a command of ours, which logs to ``name``.log and its own logs below ``name``.

        Raises:
            RuntimeError: it fails or takes too long; with the ends of its logs, since the folder may not outlast us.
        """
        log = self.work / f"{name}.log"
        with open(log, "ab") as file:
            try:
                subprocess.run(command, cwd=ROOT, stdout=file, stderr=file, check=True, timeout=max(1.0, self.left_s))
            except subprocess.SubprocessError as error:
                logs = [log, *sorted((self.work / name / "log").glob("decode.*.log"))]
                ends = [f"{path.name}: {path.read_text(errors='replace')[-LOG_END:]}" for path in logs]
                print("\n".join(ends), file=sys.stderr)
                how = "it takes too long" if isinstance(error, subprocess.TimeoutExpired) else "it fails"
                raise RuntimeError(f"{name}: {how} ({ends[-1].splitlines()[-1]})") from None

    def command(self, name: str, *flags: str) -> list[str]:
        infer = ["bash", str(ROOT / "egs/asr/infer.sh"), "--model", str(self.work / "model"), "--data_dir"]
        return [*infer, str(self.work / "data"), "--output_dir", str(self.work / name), "--gpu_inference", "true",
                "--stop_stage", "1", "--validate", "false", *flags]  # fmt: skip

    def decode(self, name: str, *flags: str, gpus: str = "0") -> float:
        """Decode the list; seconds of audio per second of the slowest worker's loop."""
        self.run(self.command(name, "--gpuid_list", gpus, *flags), name)
        loops = [float(s) for path in (self.work / name / "log").glob("decode.*.log")
                 for s in re.findall(r"failed in ([0-9.]+) s", path.read_text())]  # fmt: skip
        return self.audio_s / max(loops)

    def tokens(self, name: str) -> bytes:
        return (self.work / name / "1best_recog/token").read_bytes()

    def speed(self) -> None:
        """Decoding with one worker in each precision, and with four."""
        for precision, wanted in (("fp32", 2500), ("tf32", None), ("bf16", 6000)):
            times = self.decode(precision, "--precision", precision)
            self.times[precision] = times
            self.add(f"decoding, {precision}", f"{times:.0f}x", *((f">= {wanted}x", times >= wanted) if wanted else ()))
        self.add("decoding, bf16, 4 workers", f"{self.decode('four', '--precision', 'bf16', gpus='0,0,0,0'):.0f}x")

    def identity(self) -> None:
        """bf16 tokens do not depend on workers, batch sizes or a kill."""
        self.add("four workers give the tokens of one", "", "", self.tokens("four") == self.tokens("bf16"))
        for size in ("1", "16"):
            self.decode(f"batch{size}", "--precision", "bf16", "--batch_size", size)
            same = self.tokens(f"batch{size}") == self.tokens("bf16")
            self.add(f"--batch_size {size} gives the tokens of the default", "", "", same)
        self.add("a batch gives what each utterance gives alone", *self.alone())
        command = self.command("killed", "--gpuid_list", "0", "--precision", "bf16")
        killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)
        done = 0
        while not 0 < done < self.count and killed.poll() is None:
            time.sleep(0.05)
            done = sum(
                path.read_bytes().count(b"\n") for path in (self.work / "killed").glob("output.1/attempt.*/done")
            )
        with contextlib.suppress(ProcessLookupError):  # it was faster than we
            os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
        self.decode("killed", "--precision", "bf16")
        figure = f"killed after {done} of {self.count}"
        self.add("kill and resume", figure, "", self.tokens("killed") == self.tokens("bf16"))

    def alone(self) -> tuple[str, str, bool]:
        from funrecipe.audio.io import read_audio
        from funrecipe.decode.options import DecodeOptions
        from funrecipe.decode.recognizer import load_recognizer
        from funrecipe.model_folder import open_model_folder

        folder = open_model_folder(self.work / "model")
        recognizer = load_recognizer(folder, device="cuda", options=DecodeOptions(precision="bf16"))
        waves = [read_audio(path, sample_rate_hz=16000) for path in self.paths[:40]]
        together = recognizer.transcribe(waves)
        alone = [recognizer.transcribe([wave])[0] for wave in waves]
        differ = sum(a != b for a, b in zip(together, alone, strict=True))
        return f"{differ} of {len(waves)} differ, scores included", "", differ == 0

    def memory(self) -> None:
        """Everything is decoded while another process holds most of the memory."""
        hog = subprocess.Popen([sys.executable, "-c", HOG, str(LEFT_BYTES)], stdout=subprocess.PIPE, text=True)
        assert hog.stdout is not None
        hog.stdout.readline()
        try:
            times = self.decode("hog", "--precision", "bf16")
            lines = self.tokens("hog").count(b"\n")
            self.add(
                f"{LEFT_BYTES >> 30} GiB free",
                f"{lines} of {self.count} decoded, {times:.0f}x",
                "",
                lines == self.count,
            )
        finally:
            hog.kill()
            hog.wait()

    def training(self) -> None:
        """Updates in fp32 and bf16, with where their time goes."""
        cores = len(os.sched_getaffinity(0))
        speeds = {}
        for precision in ("fp32", "bf16"):
            out = self.work / f"train.{precision}"
            flags = {"model": self.work / "model", "data_dir": self.work / "corpus", "output_dir": out,
                     "precision": precision, "batch_bins": TRAIN_SECONDS * 1000 / 60, "max_steps": UPDATES,
                     "log_interval": UPDATES // 2, "num_workers": max(1, cores - 1), "num_gpus": 1,
                     "max_bad_share": 1.0, "valid_decode": "false"}  # fmt: skip
            command = [sys.executable, "-m", "funrecipe", "train"]
            command += [part for name, value in flags.items() for part in (f"--{name}", str(value))]
            self.run(command, out.name)
            last = re.findall(r"num_updates: (.*train_time=([0-9.]+).*)", (out / "train.log.0").read_text())[-1]
            speeds[precision] = TRAIN_SECONDS / float(last[1])
            split = ", ".join(part for part in last[0].split(", ") if "_time" in part)
            self.add(f"training, {precision}", f"{speeds[precision]:.0f}x", split)
        ratio = speeds["bf16"] / speeds["fp32"]
        self.add("training, bf16 / fp32", f"{ratio:.2f}", ">= 1.5", ratio >= 1.5)
        self.funasr_training(max(speeds.values()))

    def funasr_training(self, ours: float) -> None:
        """FunASR's trainer on half as many updates, from the same weights, in batches of as much audio."""
        if not self.peer:
            self.add("training, FunASR", NO_PEER)
            return
        lines, audio_s = [], 0.0
        texts = (line.partition(" ")[2] for line in (self.work / "corpus/train/text").read_text().splitlines())
        for number, (path, text) in enumerate(zip(self.paths, texts)):
            if audio_s >= TRAIN_SECONDS * UPDATES / 2:
                break
            duration_s = self.durations_s[path]
            audio_s += duration_s
            lines.append(json.dumps({"key": f"u{number:06}", "source": path, "source_len": int(100 * duration_s),
                                     "target": text, "target_len": len(text)}, ensure_ascii=False))  # fmt: skip
        (self.work / "train.jsonl").write_text("".join(f"{line}\n" for line in lines))
        best = 0.0
        for precision in ("fp32", "bf16"):
            command = [self.peer, "-m", "tools.bench.funasr_trainer", str(self.work / "model"),
                       str(self.work / "train.jsonl"), f"--precision={precision}", f"--batch_s={TRAIN_SECONDS}",
                       f"--output_dir={self.work / 'funasr'}"]  # fmt: skip
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            done = self.peer_run(command, environment)
            if done.returncode:
                self.add(f"training, FunASR, {precision}", f"failed: {done.stderr[-200:]}")
                continue
            speed = audio_s / json.loads(done.stdout.splitlines()[-1])["seconds"]
            best = max(best, speed)
            self.add(f"training, FunASR, {precision}", f"{speed:.0f}x")
        ratio = ours / best if best else 0.0
        self.add("training, best / FunASR's best", f"{ratio:.2f}", ">= 1", ratio >= 1)

    def peer_run(self, command: Sequence[str], environment: dict[str, str] | None = None) -> Any:
        try:
            return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment,
                                  timeout=max(1.0, self.left_s))  # fmt: skip
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, "", "it takes too long")

    def funasr(self) -> None:
        """FunASR's AutoModel over a part of the list, at several batch sizes; ours is to be 7 times its best."""
        if not self.peer:
            self.add("FunASR", NO_PEER)
            return
        best, paths = 0.0, self.paths[:800]
        share = self.audio_s * len(paths) / self.count
        for size, precision in ((16, "fp32"), (64, "fp32"), (64, "bf16")):
            command = [self.peer, "-c", FUNASR, str(self.work / "model"), str(size), precision, *paths]
            done = self.peer_run(command)
            found = re.findall(r"^seconds ([0-9.]+)$", done.stdout, re.MULTILINE)
            times = share / float(found[-1]) if found else 0.0
            best = max(best, times)
            self.add(
                f"FunASR, batch {size}, {precision}", f"{times:.0f}x" if found else f"failed: {done.stderr[-200:]}"
            )
        ratio = self.times.get("bf16", 0.0) / best if best else 0.0
        self.add("decoding, bf16 / FunASR's best", f"{ratio:.1f}", ">= 7", ratio >= 7)

    def steps(self) -> Iterator[Callable[[], None]]:
        yield from (self.prepare, self.speed, self.identity, self.memory, self.training, self.funasr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work_dir", help="for the model, the lists and the results (default: a temporary folder)")
    parser.add_argument("--peer_python", help="Python of an environment with FunASR")
    parser.add_argument("--minutes", type=float, default=9.0, help="time for everything (default: %(default)s)")
    parser.add_argument("--utterances", type=int, default=4000, help="length of the list (default: %(default)s)")
    args = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print(f"no CUDA device: torch {torch.__version__} sees none, so nothing was checked", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        return run(args, Path(args.work_dir or folder))


def run(args: argparse.Namespace, work: Path) -> int:
    """All steps, and the table; the exit code."""
    import torch

    checks = Checks(args, work.resolve())
    for step in checks.steps():
        if checks.left_s < SHORTEST_STEP_S:
            checks.add(str(step.__name__), "not measured: no time is left", "", False)
            continue
        try:
            step()
        except Exception as error:  # one row must not cost the others, on a machine that is lent for minutes
            checks.add(str(step.__name__), f"{type(error).__name__}: {error}", "", False)
    where = f"{torch.cuda.get_device_name()}, {len(os.sched_getaffinity(0))} cores, torch {torch.__version__}"
    print(f"{where}; {machine()}; {args.utterances} utterances, {checks.audio_s:.0f} s.")
    print("\n| check | figure | target | |\n|---|---|---|---|")
    for what, figure, wanted, fine in checks.rows:
        print(f"| {what} | {figure} | {wanted} | {'' if fine is None else 'ok' if fine else 'NO'} |")
    return 1 if any(fine is False for *_, fine in checks.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
