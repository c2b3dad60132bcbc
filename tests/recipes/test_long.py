"""Recordings through the recipe: cut, decoded in parallel, joined; the quick start's example."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "egs" / "quickstart"
SPOKEN = sorted((QUICKSTART / "data" / "wav").glob("*.flac"))


def bash(script, *arguments, cwd):
    environment = {**os.environ, "PYTHON": sys.executable}
    command = ["bash", str(ROOT / script), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def infer(folder, *arguments):
    """The recipe on ``folder/data`` with the embedded models, stages 0 to 2."""
    models = ["--model", QUICKSTART / "model", "--vad_model", QUICKSTART / "vad", "--timestamp", "true"]
    common = ["--data_dir", folder / "data", "--formats", "srt,json", "--gpu_inference", "false"]
    return bash("egs/asr/infer.sh", *models, *common, *arguments, cwd=folder)


def lines(path):
    return dict(line.partition(" ")[::2] for line in path.read_text(encoding="utf-8").split("\n")[:-1])


def tree(folder):
    names = ("1best_recog", "transcripts")
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for name in names
        for p in sorted((folder / name).iterdir())
        if p.name != "plan.digest"
    }


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A data directory of three recordings, one of them silent, and the results of two jobs."""
    folder = tmp_path_factory.mktemp("long")
    (folder / "data").mkdir()
    silence = np.zeros(24000, np.float32)
    for name, paths in (("a", SPOKEN[:3]), ("b", SPOKEN[3:5]), ("c", [])):
        parts = [silence]
        for path in paths:
            parts += [soundfile.read(path, dtype="float32")[0], silence]
        soundfile.write(folder / "data" / f"{name}.wav", np.concatenate(parts), 16000)
    (folder / "data" / "wav.scp").write_text("".join(f"{n} {folder}/data/{n}.wav\n" for n in "abc"))
    done = infer(folder, "--output_dir", folder / "two", "--njob", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_recording_has_results_and_transcripts(work):
    text, vad = lines(work / "two/1best_recog/text"), lines(work / "two/1best_recog/vad")
    assert list(text) == ["a", "b", "c"] and text["a"] and text["b"] and not text["c"]
    assert [len(json.loads(vad[name])) for name in "abc"] == [3, 2, 0]
    times = lines(work / "two/1best_recog/timestamp")
    assert all(len(json.loads(times[name])) == len(text[name].split()) for name in "abc")
    for option, code in ((["--merge_vad", "true"], 3), (["--merge_length_s", "10"], 2)):
        assert infer(work, "--output_dir", work / "two", "--stage", "2", *option).returncode == code
    assert sorted(p.name for p in (work / "two/transcripts").iterdir()) == sorted(
        f"{name}.{ending}" for name in "abc" for ending in ("srt", "json")
    )
    assert json.loads((work / "two/transcripts/a.json").read_text())["word_times"] == "recognized"


def test_the_number_of_jobs_changes_nothing(work):
    done = infer(work, "--output_dir", work / "one", "--njob", "1", "--stop_stage", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert tree(work / "one") == tree(work / "two")


def test_a_run_that_lost_results_resumes_to_the_same_bytes(work):
    again = work / "again"
    shutil.copytree(work / "two", again)
    shutil.rmtree(again / "pieces" / "output.1")
    shutil.rmtree(again / "1best_recog")
    done = infer(work, "--output_dir", again, "--njob", "2", "--stop_stage", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "up to date" in done.stdout
    assert tree(again) == tree(work / "two")


def kill_at_random(chooser, command, log, output, names):
    """Start the recipe and kill it, or one of its workers, when a random number of files is there; whether it ran."""
    wanted = chooser.randint(1, names)
    environment = {**os.environ, "PYTHON": sys.executable}
    run = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    while run.poll() is None and len(list(output.rglob("*"))) < wanted:
        time.sleep(0.02)
    was_running = run.poll() is None
    running = processes_of(run.pid)
    workers = [pid for pid, line in running if "decode" in line.split("\0")]
    for pid in [chooser.choice(workers)] if workers and chooser.random() < 0.5 else [pid for pid, _ in running]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    run.wait(timeout=300)
    return was_running


def processes_of(session):
    """Process ids and command lines of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            line = (folder / "cmdline").read_text(errors="replace")
        except OSError:  # it has ended
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append((int(folder.name), line))
    return found


def test_killed_at_random_and_resumed_every_published_file_is_the_same(work, tmp_path):
    models = ["--model", QUICKSTART / "model", "--vad_model", QUICKSTART / "vad", "--timestamp", "true"]
    options = [
        "--formats",
        "srt,json",
        "--gpu_inference",
        "false",
        "--stop_stage",
        "1",
        "--njob",
        "2",
        "--batch_size",
        "1",
    ]
    killed = tmp_path / "killed"
    command = [*models, "--data_dir", work / "data", *options, "--output_dir", killed]
    script, chooser = ["bash", str(ROOT / "egs/asr/infer.sh")], random.Random(0)
    names = len(list((work / "two").rglob("*"))) - 20
    with open(tmp_path / "log", "wb") as log:
        kills = [kill_at_random(chooser, [*script, *map(str, command)], log, killed, names) for _ in range(4)]
    assert any(kills)
    done = bash("egs/asr/infer.sh", *command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "log").read_text()
    assert tree(killed) == tree(work / "two")


def test_a_recording_that_cannot_be_read(work, tmp_path):
    shutil.copytree(work / "data", tmp_path / "data")
    (tmp_path / "data/wav.scp").write_text(f"a {work}/data/a.wav\nbad {tmp_path}/data/bad.wav\n")
    (tmp_path / "data/bad.wav").write_bytes(b"not audio")
    arguments = ["--output_dir", tmp_path / "out", "--stop_stage", "1", "--validate", "false"]
    refused = infer(tmp_path, *arguments)
    assert refused.returncode == 4
    assert "1 of 2 recordings failed" in refused.stderr
    assert not (tmp_path / "out/1best_recog").exists()
    accepted = infer(tmp_path, *arguments, "--max_failed", "1")
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    assert list(lines(tmp_path / "out/1best_recog/text")) == ["a"]
    assert (tmp_path / "out/failed_recordings").read_text().startswith("bad: ")


def test_recordings_without_speech_need_no_decoding_and_say_nothing_of_an_earlier_run(work, tmp_path):
    shutil.copytree(work / "two", tmp_path / "out")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/wav.scp").write_text(f"silent {work}/data/c.wav\n")
    done = infer(tmp_path, "--output_dir", tmp_path / "out", "--njob", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert lines(tmp_path / "out/1best_recog/text") == {"silent": ""}
    assert (tmp_path / "out/transcripts/silent.srt").read_text() == ""
    assert "utterances  " not in done.stdout
    fresh = infer(tmp_path, "--output_dir", tmp_path / "fresh", "--njob", "1")
    assert fresh.returncode == 0, fresh.stdout + fresh.stderr
    assert "utterances  " not in fresh.stdout
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")
    assert "6 transcripts of earlier runs are in" in done.stdout
    earlier = tmp_path / "out/transcripts.earlier"
    assert {path.name: path.read_bytes() for path in earlier.iterdir()} == {
        path.name: path.read_bytes() for path in (work / "two/transcripts").iterdir()
    }


def test_speakers_are_those_of_transcribe(work, tmp_path):
    speaker_model = ROOT / "tests/data/parity/campplus"
    common = ["--spk_model", speaker_model, "--output_dir", tmp_path / "out", "--stop_stage", "1"]
    done = infer(work, *common, "--formats", "json,rttm", "--num_speakers", "2", "--njob", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    command = [sys.executable, "-m", "funrecipe", "transcribe", f"{work}/data/a.wav", "--spk_model", speaker_model]
    command += ["--n_speakers", "2", "--formats", "json,rttm", "--output_dir", tmp_path / "direct", "--device", "cpu"]
    subprocess.run([*map(str, command)], check=True, cwd=ROOT)
    for name in ("a.json", "a.rttm"):
        assert (tmp_path / "out/transcripts" / name).read_bytes() == (tmp_path / "direct" / name).read_bytes()
    sentences = json.loads((tmp_path / "out/transcripts/a.json").read_text())["sentences"]
    assert sentences and all("speaker" in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num_speakers", "2"], "--num_speakers has no effect without --spk_model"),
        (["--merge_length_s", "9"], "--merge_length_s has no effect without --merge_vad true"),
    ],
    ids=str,
)
def test_options_of_what_is_not_done_are_refused(arguments, message, tmp_path):
    done = infer(tmp_path, "--output_dir", tmp_path / "results", *arguments)
    assert done.returncode == 2 and message in done.stderr and not (tmp_path / "results").exists()


def test_results_of_another_run_in_the_folder_are_not_scored(work, tmp_path):
    """Silence, cut, leaves no plan; then a run without cutting; then stage 2 as if it were the first run's."""
    (tmp_path / "data").mkdir()
    for name, recording in (("silent", "c"), ("spoken", "b")):
        (tmp_path / "data/wav.scp").write_text(f"{name} {work}/data/{recording}.wav\n")
        (tmp_path / "data/text").write_text(f"{name} 百\n")
        cutting = [] if name == "silent" else ["--vad_model", "", "--formats", ""]
        done = infer(tmp_path, "--output_dir", tmp_path / "out", "--njob", "1", *cutting)
        assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "out/transcripts").exists()
    assert (tmp_path / "out/output.stale.unknown/transcripts/silent.srt").exists()
    done = infer(tmp_path, "--output_dir", tmp_path / "out", "--stage", "2")
    assert done.returncode == 3 and "the results are of plan" in done.stderr, done.stdout + done.stderr


def test_without_a_vad_and_with_punctuation(work, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/wav.scp").write_text(f"b {work}/data/b.wav\n")
    punctuation = ROOT / "tests/data/parity/punc_ct_transformer"
    arguments = ["--vad_model", "", "--max_piece_s", "6", "--punc_model", punctuation, "--output_dir", tmp_path / "out"]
    done = infer(tmp_path, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    pieces = json.loads(lines(tmp_path / "out/1best_recog/vad")["b"])
    assert len(pieces) == 2 and pieces[0][1] < pieces[1][0]  # the pause is left out
    assert re.search("[。？.?]$", lines(tmp_path / "out/1best_recog/text_with_punc")["b"])
