"""From the plan to the last stage a run is one plan, under one lock, and its numbers are those of its results."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "egs/quickstart"
TINY = ROOT / "tests/data/parity/paraformer"


def run(*command: object, **environment: str) -> tuple[int, str]:
    result = subprocess.run(
        [*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHON": sys.executable, **environment},
    )  # fmt: skip
    return result.returncode, result.stdout + result.stderr


def funrecipe(*arguments: object) -> tuple[int, str]:
    return run(sys.executable, "-m", "funrecipe", *arguments)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two utterances."""
    folder = tmp_path / "data"
    folder.mkdir()
    lines = (QUICKSTART / "data/text").read_text().splitlines(keepends=True)[:2]
    (folder / "text").write_text("".join(lines))
    keys = [line.split(" ", 1)[0] for line in lines]
    for key in keys:
        shutil.copy(QUICKSTART / f"data/wav/{key}.flac", folder)
    (folder / "wav.scp").write_text("".join(f"{key} {folder / key}.flac\n" for key in keys))
    return folder


def infer(data: Path, *arguments: object) -> tuple[int, str]:
    options = ["--model", TINY, "--data_dir", data, "--output_dir", data.parent / "out", "--gpu_inference", "false"]
    return run("bash", ROOT / "egs/asr/infer.sh", *options, "--njob", 1, *arguments)


def plan(data: Path, *arguments: object) -> str:
    out = data.parent / "out"
    options = [f"--data_dir={data}", f"--output_dir={out}", "--gpu_inference=false", "--njob=1"]
    code, said = funrecipe("plan", f"--model={TINY}", *options, *arguments)
    assert code == 0, said
    return json.loads((out / "plan.json").read_text())["digest"]


def test_every_step_refuses_the_plan_of_another_run(data: Path) -> None:
    mine = plan(data)
    theirs = plan(data, "--beam_size=2")
    out = data.parent / "out"
    for step in (
        ("launch", f"--plan={out}"),
        ("merge", f"--plan={out}"),
        ("decode", f"--plan={out}", "--job=1"),
        ("score", f"--results={out}/1best_recog", f"--data_dir={data}", f"--plan={out}"),
    ):
        code, said = funrecipe(*step, f"--digest={mine}")
        assert code == 3 and f"the plan here is {theirs[:12]}, not {mine[:12]}" in said, said


def test_a_b_a_costs_nothing_the_second_time(data: Path) -> None:
    out = data.parent / "out"
    plan(data)
    assert funrecipe("launch", f"--plan={out}")[0] == 0
    plan(data, "--beam_size=2")
    plan(data)
    code, said = funrecipe("launch", f"--plan={out}")
    assert code == 0 and "all 2 utterances are already decoded" in said


def test_a_later_stage_with_other_options_is_refused(data: Path) -> None:
    code, said = infer(data, "--beam_size", 1)
    assert code == 0, said
    digest = re.findall(r"^plan +(\w+)", said, re.MULTILINE)[-1]
    for arguments, wrong in [
        (("--model", QUICKSTART / "model"), "the model: "),
        (("--beam_size", 3), "beam_size: 1 was used, 3 is asked for"),
        (("--nbest", 2), "nbest: the default of the model was used, 2 is asked for"),
    ]:
        for stage in (2, 4):
            code, said = infer(data, "--stage", stage, *arguments)
            assert code == 3 and wrong in said and digest in said and "%WER" not in said, said
    code, said = infer(data, "--stage", 2, "--beam_size", 1)
    assert code == 0 and "%WER" in said and digest in said


def test_numbers_about_other_texts_go(data: Path) -> None:
    results = data.parent / "out/1best_recog"
    code, said = infer(data, "--stop_stage", 4)
    assert code == 0, said
    report = data.parent / "out/report.html"
    assert report.exists() and (results / "RESULTS.txt").exists()
    assert infer(data, "--stage", 2)[0] == 0
    assert report.exists() and (results / "RESULTS.txt").exists()  # the same numbers
    lines = (data / "text").read_text().splitlines(keepends=True)
    (data / "text").write_text("".join(line.rstrip("\n") + " 的\n" for line in lines))
    assert infer(data, "--stage", 2)[0] == 0
    assert not report.exists() and not (results / "RESULTS.txt").exists()
    assert infer(data, "--stage", 4)[0] == 0
    assert "SpeechIO" not in (data.parent / "out/RESULTS.md").read_text()


def test_a_text_that_was_cut_off_is_refused(data: Path) -> None:
    lines = (data / "text").read_text().splitlines(keepends=True)
    (data / "text").write_text(lines[0])
    code, said = infer(data)
    assert code == 3 and "1 of 2 utterances have no text" in said and "--partial_text true" in said
    assert not (data.parent / "out").exists()
    code, said = infer(data, "--partial_text", "true")
    assert code == 0 and "Scored 1 sentences" in said


def test_a_text_that_is_cut_off_or_gone_after_decoding_is_not_scored(data: Path) -> None:
    assert infer(data)[0] == 0
    before = (data.parent / "out/1best_recog/text.cer").read_bytes()
    lines = (data / "text").read_text().splitlines(keepends=True)
    (data / "text").write_text(lines[0])
    for stage in (2, 3):
        code, said = infer(data, "--stage", stage)
        assert (
            code == 3 and "1 of 2 results have no text" in said and "--partial_text true" in said and "%WER" not in said
        )
    assert (data.parent / "out/1best_recog/text.cer").read_bytes() == before
    data.rename(data.parent / "elsewhere")
    for stage in (2, 3, 4):
        code, said = infer(data, "--stage", stage)
        assert code == 3 and "no data directory" in said, said


def test_runs_with_and_without_pieces_in_one_folder_are_told_apart(data: Path) -> None:
    out, cut, whole = data.parent / "out", ("--formats", "txt", "--beam_size", 2), ("--beam_size", 1)
    assert infer(data, *whole)[0] == 0
    of_whole = (out / "1best_recog/text").read_bytes()
    assert infer(data, *cut)[0] == 0
    assert not (out / "plan.json").exists()  # its results are not what is published
    for options in (whole, ("--model", QUICKSTART / "model"), ("--formats", "txt", *whole)):
        code, said = infer(data, "--stage", 2, *options)
        assert code == 3 and "the results here are from plan" in said and "%WER" not in said, said
    assert infer(data, "--stage", 2)[0] == 0 and infer(data, "--stage", 2, *cut)[0] == 0
    code, said = infer(data, *whole)  # decoded before, and taken back
    assert code == 0 and (out / "1best_recog/text").read_bytes() == of_whole
    for stage in (2, 4):
        code, said = infer(data, "--stage", stage, *cut)
        assert code == 3 and "%WER" not in said, said


def test_audio_that_changed_after_planning_is_not_decoded(data: Path) -> None:
    out = data.parent / "out"
    plan(data)
    path = next(data.glob("*.flac"))
    os.utime(path)
    code, said = funrecipe("launch", f"--plan={out}")
    assert code == 5 and "the audio has changed since the plan was made" in said, said
    assert funrecipe("merge", f"--plan={out}", "--max_failed=2")[0] == 4  # not a failure that may be accepted
    code, said = infer(data)
    assert code == 0, said


def test_a_hung_job_is_ended(data: Path) -> None:
    with open(data / "wav.scp", "a") as scp:
        scp.write("zz sleep 600 |\n")
    with open(data / "text", "a") as text:
        text.write("zz 的\n")
    started = time.monotonic()
    code, said = infer(data, "--allow_pipes", "true", "--stall_timeout_s", 8, "--batch_size", 1)
    assert code == 5 and "no progress for 8 s, ended (--stall_timeout_s 8)" in said, said
    assert time.monotonic() - started < 300
    assert not (data.parent / "out/1best_recog").exists()


def test_the_lock_covers_the_recipe_and_is_free_afterwards(data: Path) -> None:
    """The stand-in for Python is a second run that begins between two steps of the first."""
    out = data.parent / "out"
    python = data.parent / "python"
    python.write_text(
        f"""#!/bin/bash
case " $* " in *" merge "*)
  env -u FUNRECIPE_LOCK_FD "{sys.executable}" -m funrecipe plan --model="{TINY}" --data_dir="{data}" \\
    --output_dir="{out}" --gpu_inference=false --beam_size=2 > "{data.parent}/other.log" 2>&1;;
esac
exec "{sys.executable}" "$@"
"""
    )
    python.chmod(0o755)
    options = ["--model", TINY, "--data_dir", data, "--output_dir", out, "--gpu_inference", "false", "--njob", 1]
    code, said = run("bash", ROOT / "egs/asr/infer.sh", *options, PYTHON=str(python))
    assert code == 0 and "%WER" in said, said
    assert "another run works in this folder (process" in (data.parent / "other.log").read_text()
    plan(data, "--beam_size=2")  # free again
