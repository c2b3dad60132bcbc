"""infer.sh on audio that is not a mono wav: the channel, ffmpeg, raw samples, special files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "egs/quickstart"
NAMES = ("BAC009S0150W0014", "BAC009S0150W0034")


def infer(work: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(ROOT / "egs/asr/infer.sh"), "--model", str(work / "model"), "--njob", "1"]
    command += ["--gpu_inference", "false", "--data_dir", str(work / "data"), "--output_dir", str(work / "out")]
    return subprocess.run(
        [*command, "--stop_stage", "1", *arguments],
        cwd=work,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def results(work: Path) -> dict[str, str]:
    lines = (work / "out/1best_recog/text").read_text(encoding="utf-8").splitlines()
    return dict(line.partition(" ")[::2] for line in lines)


@pytest.fixture(scope="module")
def waves() -> tuple[np.ndarray, np.ndarray]:
    first, second = (soundfile.read(QUICKSTART / f"data/wav/{name}.flac", dtype="int16")[0] for name in NAMES)
    longest = max(len(first), len(second))
    return np.pad(first, (0, longest - len(first))), np.pad(second, (0, longest - len(second)))


@pytest.fixture()
def work(tmp_path: Path, greedy_model: Path, waves: tuple[np.ndarray, np.ndarray]) -> Path:
    """``both`` has one utterance on each channel; ``one`` and ``two`` are these alone."""
    (tmp_path / "model").symlink_to(greedy_model)
    (tmp_path / "data").mkdir()
    soundfile.write(tmp_path / "data/both.wav", np.stack(waves, axis=1), 16000)
    (tmp_path / "data/one.raw").write_bytes(waves[0].tobytes())
    soundfile.write(tmp_path / "data/two.flac", waves[1], 16000)
    lines = [
        f"{name} {tmp_path}/data/{name}.{kind}\n" for name, kind in (("both", "wav"), ("one", "raw"), ("two", "flac"))
    ]
    (tmp_path / "data/wav.scp").write_text("".join(lines))
    return tmp_path


def test_the_channel_is_chosen_and_said_once(work: Path) -> None:
    note = "note: 1 of 3 utterances have more than one channel (up to 2): channel {} is used"
    ran = infer(work)
    assert ran.returncode == 0, ran.stderr
    texts = results(work)
    assert texts["both"] == texts["one"] != texts["two"] and all(texts.values())
    assert ran.stdout.count(note.format(1)) == 1
    (work / "data/wav.scp").write_text("".join(f"{x} {work}/data/both.wav\n" for x in ("both", "other")))
    ran = infer(work, "--channel", "2")
    assert ran.returncode == 0, ran.stderr
    assert results(work) == dict.fromkeys(("both", "other"), texts["two"])
    again = infer(work, "--channel", "2")  # everything is decoded: the note is there all the same
    assert "2 of 2 utterances have more than one channel (up to 2): channel 2 is used" in again.stdout
    refused = infer(work, "--channel", "left")
    assert refused.returncode == 2 and "channel is 'left'" in refused.stderr


def test_what_only_ffmpeg_reads_is_refused_by_name_or_read(work: Path) -> None:
    (work / "data/talk.m4a").write_bytes((ROOT / "tests/data/audio/s.m4a").read_bytes())
    with open(work / "data/wav.scp", "a") as file:
        file.write(f"talk {work}/data/talk.m4a\n")
    ran = infer(work)
    assert ran.returncode == 4
    failed = (work / "out/failed.scp").read_text()
    assert "talk\t" in failed and "MP4/M4A" in failed and failed.count("\n") == 1
    (work / "bin").mkdir()
    script = f'#!/bin/sh\nfor last; do :; done\n"{sys.executable}" -c "import soundfile as s, sys; '
    script += f's.write(sys.argv[1], *s.read(\'{work}/data/two.flac\'))" "${{last#file:}}"\n'
    (work / "bin/ffmpeg").write_text(script)
    (work / "bin/ffmpeg").chmod(0o755)
    ran = infer(work, "--allow_ffmpeg", "true", PATH=f"{work}/bin:{os.environ['PATH']}")
    assert ran.returncode == 0, ran.stderr
    assert results(work)["talk"] == results(work)["two"]


def test_a_pipe_or_a_device_is_refused_when_the_run_is_planned(work: Path) -> None:
    os.mkfifo(work / "data/pipe.wav")
    for place in (f"{work}/data/pipe.wav", "/dev/zero"):
        (work / "data/wav.scp").write_text(f"one {place}\n")
        ran = infer(work)
        assert ran.returncode == 3 and place in ran.stderr and not (work / "out/output.1").exists()
    (work / "data/wav.scp").unlink()
    os.mkfifo(work / "data/wav.scp")
    ran = infer(work)
    assert ran.returncode == 3 and "the list is a named pipe" in ran.stderr
