"""egs/asr/infer.sh, driven as a user drives it, with everything that can go wrong on the way."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "egs" / "quickstart"
# Every folder of these tests has blanks, quotes and a command in its name.
NASTY = "a \"b\" 'c' $(touch pwned) ;&|*"
NUM_SPEECH = 5
PIPES = ("--allow_pipes", "true")


def recipe(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    command = ["bash", str(ROOT / "egs/asr/infer.sh"), *map(str, arguments)]
    environment = {**os.environ, "PYTHON": sys.executable}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=cwd, env=environment, start_new_session=True, **pipes)


def run(*arguments: str, cwd: Path) -> tuple[int, str]:
    process = recipe(*arguments, cwd=cwd)
    output, _ = process.communicate(timeout=900)
    return process.returncode, output


def infer(work: Path, *arguments: str, output: str = "out", data: str = "data") -> tuple[int, str]:
    return run(*recipe_arguments(work, *arguments, output=output, data=data), cwd=work)


def recipe_arguments(work: Path, *arguments: str, output: str = "out", data: str = "data") -> list[str]:
    return ["--model", str(work / "model"), "--data_dir", str(work / data), "--output_dir", str(work / output),
            "--gpu_inference", "false", *arguments]  # fmt: skip


def write_data(folder: Path, audio: dict[str, Path], texts: dict[str, str] | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wav.scp").write_text("".join(f"{key} {path}\n" for key, path in audio.items()))
    if texts is not None:
        (folder / "text").write_text("".join(f"{key} {texts[key]}\n" for key in audio))


def results(output: Path) -> dict[str, bytes]:
    return {name: (output / "1best_recog" / name).read_bytes() for name in ("text", "token", "text.cer")}


def scores(output: Path) -> dict[str, float]:
    lines = (output / "1best_recog/score").read_text().splitlines()
    return {key: float(value) for key, value in (line.split() for line in lines)}


def assert_same_results(left: Path, right: Path) -> None:
    assert results(left) == results(right)
    ours, theirs = scores(left), scores(right)
    assert ours.keys() == theirs.keys()
    assert all(abs(ours[key] - theirs[key]) < 1e-4 for key in ours)


def cer(output: Path) -> float:
    return json.loads((output / "1best_recog/text.cer.json").read_text())["rate"]


def processes_of(work: Path) -> list[int]:
    """Processes whose command line names the test's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command, state = (
                    (entry / "cmdline").read_bytes(),
                    (entry / "stat").read_text().rpartition(")")[2].split()[0],
                )
            except OSError:
                continue
            if str(work).encode() in command and state != "Z":
                found.append(int(entry.name))
    return found


def is_verb(pid: int, verb: str) -> bool:
    return f"\0{verb}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.terminate()
            pytest.fail(f"the recipe did not get there:\n{process.communicate()[0]}")
        time.sleep(0.05)


def num_done(output: Path) -> int:
    """Utterances in published shards and in attempts at them."""
    lists = [*output.glob("output.*/done"), *output.glob("output.*/attempt.*/done")]
    return sum(len(path.read_text().splitlines()) for path in lists)


@pytest.fixture(scope="module")
def work(greedy_model, tmp_path_factory) -> Path:
    """Speech, an 8 kHz stereo file and one of 10 samples, all under a nasty path; an undisturbed run in ``out``."""
    work = tmp_path_factory.mktemp("recipe") / NASTY
    shutil.copytree(greedy_model, work / "model")
    (work / "wav").mkdir()
    texts = dict(line.split(" ", 1) for line in (QUICKSTART / "data/text").read_text().splitlines())
    chosen = sorted(texts)[:: len(texts) // NUM_SPEECH][:NUM_SPEECH]
    for key in chosen:
        shutil.copy(QUICKSTART / f"data/wav/{key}.flac", work / "wav")
    speech, rate_hz = soundfile.read(work / f"wav/{chosen[0]}.flac", dtype="float32")
    assert rate_hz == 16000
    stereo = np.repeat(speech[::2, None], 2, axis=1)
    soundfile.write(work / "wav/stereo8k.wav", stereo, 8000, subtype="PCM_16")
    soundfile.write(work / "wav/ten.wav", speech[:10], 16000)
    (work / "wav/corrupt.wav").write_bytes(b"RIFF\xff\xff\xff\xffWAVEfmt nothing of the kind" * 9)
    (work / "wav/zero.wav").write_bytes(b"")
    audio = {key: work / f"wav/{key}.flac" for key in chosen}
    audio |= {"stereo8k": work / "wav/stereo8k.wav", "ten": work / "wav/ten.wav"}
    texts |= dict.fromkeys(["stereo8k", "ten", "corrupt", "zero", "missing"], "测 试")
    write_data(work / "data", audio, texts)
    bad = {name: work / f"wav/{name}.wav" for name in ("corrupt", "zero", "missing")}
    write_data(work / "data_faulty", audio | bad, texts)
    write_data(work / "data_no_text", audio, None)
    shuffled = dict(reversed(audio.items()))
    fifo = work / "wav/fifo.flac"
    os.mkfifo(fifo)
    write_data(work / "data_blocked", shuffled | {chosen[0]: f"cat {shlex.quote(str(fifo))} |"}, texts)
    write_data(work / "data_shuffled", shuffled, texts)
    code, output = infer(work, "--njob", "1")
    assert code == 0, output
    (work / "undisturbed.log").write_text(output)
    return work


def test_undisturbed(work: Path) -> None:
    output, said = work / "out", (work / "undisturbed.log").read_text()
    lines = (output / "1best_recog/text").read_text().splitlines(keepends=True)
    assert len(lines) == NUM_SPEECH + 2
    assert lines == sorted(lines, key=str.encode)
    assert "ten \n" in lines  # too short for a feature window: an empty hypothesis, the key and one blank
    assert next(line for line in lines if line.startswith("stereo8k ")).split()[1:]
    assert "%WER" in said and "Scored 7 sentences, 0 not present in hyp." in said
    for line in ("utterances        7 of 7 decoded, 0 failed", "real-time factor", "CER  "):
        assert line in said
    log = (output / "log/decode.1.log").read_text()
    sha256 = json.loads((output / "plan.json").read_text())["model"]["fingerprint"]["weights"]
    assert log.startswith("# ") and "# Running on" in log and f"sha256 {sha256}" in log
    assert log.rstrip().splitlines()[-1].startswith("# Ended (code 0) at ")
    assert json.loads((output / "1best_recog/text.cer.json").read_text())["meta"]["weights_sha256"] == sha256
    assert (output / "1best_recog/text.ref").read_bytes() == (work / "data/text").read_bytes()
    assert (output / "1best_recog/text.proc").read_bytes() == (output / "1best_recog/text").read_bytes()
    assert not list(work.rglob("pwned")) and not Path("pwned").exists()


def test_a_killed_worker_publishes_nothing_and_a_second_run_finishes(work: Path) -> None:
    """The FIFO holds the worker in the middle of its shard, all that count as longer being decoded one by one;
    its command has no duration and counts as one second."""
    output = work / "killed"
    shutil.rmtree(output, ignore_errors=True)
    blocked = ("--njob", "1", "--batch_size", "1", *PIPES)
    process = recipe(*recipe_arguments(work, *blocked, output="killed", data="data_blocked"), cwd=work)
    wait_until(lambda: num_done(output) == NUM_SPEECH, process)
    victims = [pid for pid in processes_of(output) if is_verb(pid, "decode")]
    assert victims
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 5, said
    assert "jobs failed" in said and "killed by SIGKILL" in said and str(output / "log/decode.") in said
    assert not (output / "1best_recog").exists()
    assert processes_of(output) == []
    # What a kill at a worse moment leaves: a line cut off in the middle.
    done = next(path for path in sorted(output.glob("output.*/attempt.*/done")) if path.stat().st_size)
    text = done.parent / "1best_recog/text"
    text.write_bytes(text.read_bytes()[:-3])

    fifo = work / "wav/fifo.flac"
    chosen = (work / "data_blocked/wav.scp").read_text()
    key = next(line.split(" ", 1)[0] for line in chosen.splitlines() if "fifo" in line)
    fifo.unlink()
    shutil.copy(work / f"wav/{key}.flac", fifo)
    before = num_done(output)
    try:
        again = ("--njob", "1", "--batch_size", "8", *PIPES)
        code, said = infer(work, *again, output="killed", data="data_blocked")
    finally:
        fifo.unlink()
        os.mkfifo(fifo)
    assert code == 0, said
    assert_same_results(output, work / "out")
    assert not list(output.glob("output.stale*"))
    logs = "".join(path.read_text() for path in output.glob("log/decode.*.log"))
    assert "signal 9" in logs
    resumed = sum(int(line.split()[4]) for line in logs.splitlines() if line.endswith("of them decoded before"))
    assert resumed == before - 1


@pytest.mark.parametrize("how", ["ctrl-c", "shell terminated", "launcher killed", "shell killed"])
def test_an_interrupt_leaves_no_process(work: Path, how: str) -> None:
    output = work / how
    blocked = ("--njob", "1", "--batch_size", "1", *PIPES)
    process = recipe(*recipe_arguments(work, *blocked, output=output.name, data="data_blocked"), cwd=work)
    wait_until(lambda: num_done(output) >= 1, process)
    started = len(processes_of(output))
    assert started >= 3
    if how == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)  # a terminal signals the whole foreground group, but no worker is in it
    elif how == "shell terminated":
        os.kill(process.pid, signal.SIGTERM)
    elif how == "launcher killed":
        os.kill(next(pid for pid in processes_of(output) if is_verb(pid, "launch")), signal.SIGKILL)
    else:
        os.kill(process.pid, signal.SIGKILL)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == {"launcher killed": 137, "shell killed": -9}.get(how, 130), said
    # Workers look after their launcher once a second; a process that was killed is seen until it is reaped.
    deadline = time.monotonic() + 120
    while processes_of(output) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(output) == []
    assert not (output / "1best_recog").exists()


def test_unreadable_audio(work: Path) -> None:
    code, said = infer(work, "--njob", "2", data="data_faulty", output="faulty")
    output = work / "faulty"
    assert code == 4, said
    assert "3 of 10 utterances failed" in said and "--max_failed 3" in said
    assert not (output / "1best_recog").exists()
    failed = dict(line.split("\t", 1) for line in (output / "failed.scp").read_text().splitlines())
    assert sorted(failed) == ["corrupt", "missing", "zero"]
    assert all(line.split("\t")[1] for line in failed.values())

    code, said = infer(work, "--njob", "2", "--max_failed", "3", data="data_faulty", output="faulty")
    assert code == 0, said
    keys = {line.split(" ", 1)[0] for line in (output / "1best_recog/text").read_text().splitlines()}
    assert keys == {line.split(" ", 1)[0] for line in (work / "data/wav.scp").read_text().splitlines()}
    with_failures = json.loads((output / "1best_recog/text.cer.json").read_text())
    without = json.loads((work / "out/1best_recog/text.cer.json").read_text())
    # Three references of two characters each, all deleted.
    assert with_failures["deletions"] == without["deletions"] + 6
    assert with_failures["tokens"] == without["tokens"] + 6
    assert "Scored 10 sentences, 3 not present in hyp." in said


def test_other_njob_sets_the_old_shards_aside_and_changes_no_result(work: Path) -> None:
    output = work / "other njob"
    shutil.copytree(work / "out", output, dirs_exist_ok=True)
    old = json.loads((output / "plan.json").read_text())["work_digest"]
    code, said = infer(work, "--njob", "50", "--batch_size", "3", output="other njob", data="data_shuffled")
    assert code == 0, said
    assert f"output.stale.{old[:12]}" in said
    assert sorted(p.name for p in output.glob("split/*.scp")) == [f"wav.{n}.scp" for n in range(1, 8)]
    assert (output / f"output.stale.{old[:12]}/output.1").is_dir()
    assert_same_results(output, work / "out")


def test_a_lost_hypothesis_never_helps(work: Path) -> None:
    output = work / "lost"
    shutil.copytree(work / "out", output, dirs_exist_ok=True)
    before = cer(output)
    text = output / "1best_recog/text"
    lines = text.read_text().splitlines(keepends=True)
    text.write_text("".join(lines[1:]))
    code, said = infer(work, "--stage", "2", output="lost")
    assert code == 0 and cer(output) > before
    # In a shard it is found out before anything is published.
    shard = output / "output.1/1best_recog/text"
    shard.write_text("".join(shard.read_text().splitlines(keepends=True)[1:]))
    merge = [
        sys.executable,
        "-m",
        "funrecipe",
        "merge",
        "--plan",
        str(output),
    ]
    merged = subprocess.run(merge, cwd=ROOT, capture_output=True, text=True)
    assert merged.returncode == 4 and "is missing" in merged.stderr
    assert not (output / "1best_recog").exists()
    # The same command decodes what is missing, and only that.
    code, said = infer(work, "--njob", "1", output="lost")
    assert code == 0, said
    assert "7 utterances, 6 of them decoded before" in (output / "log/decode.1.log").read_text()
    assert_same_results(output, work / "out")


def test_without_text_there_is_no_score_and_no_error(work: Path) -> None:
    output = work / "no text"
    shutil.copytree(work / "out", output, dirs_exist_ok=True)
    code, said = infer(work, "--stage", "2", output="no text", data="data_no_text")
    assert code == 0 and "no text" in said
    assert "CER" not in said and "%WER" not in said  # the score of an earlier text is not this run's


def test_a_failed_stage_1_leaves_no_number_to_score(work: Path) -> None:
    output = work / "stale"
    shutil.copytree(work / "out", output, dirs_exist_ok=True)
    for arguments, expected in [(("--model", str(work / "nothing")), 3), (("--beam_size", "0"), 2)]:
        code, said = infer(work, *arguments, output="stale")
        assert code == expected, said
        for stage in ("2", "3", "4"):
            code, said = infer(work, "--stage", stage, "--stop_stage", "4", output="stale")
            assert code == 3 and "run stage 1 again" in said
            assert "CER" not in said and "%WER" not in said
    assert results(output) == results(work / "out")  # nothing is lost by a slip
    code, said = infer(work, "--njob", "1", output="stale")
    assert code == 0 and "%WER" in said
    assert_same_results(output, work / "out")


def test_a_score_is_of_the_texts_that_are_there(work: Path) -> None:
    output = work / "retext"
    shutil.copytree(work / "out", output, dirs_exist_ok=True)
    shutil.copytree(work / "data", work / "data_retext")
    code, said = infer(work, "--stop_stage", "1", "--njob", "1", output="retext", data="data_retext")
    assert code == 0 and "CER  " in said
    with open(work / "data_retext/text", "a") as text:
        text.write("zz 多 一 句\n")
    code, said = infer(work, "--stop_stage", "1", "--njob", "1", output="retext", data="data_retext")
    assert code == 0 and "CER  " not in said


def test_an_unknown_back_end_is_named(work: Path) -> None:
    code, said = infer(work, "--backend", "lcoal", output="backend")
    assert code == 2 and "no back end 'lcoal'" in said and "did you mean 'local'?" in said
    assert not (work / "backend").exists()


def test_scoring_before_decoding_is_an_error(work: Path) -> None:
    code, said = infer(work, "--stage", "2", output="nothing here")
    assert code == 3 and "run stage 1 first" in said


def test_nothing_in_an_option_is_run(work: Path, tmp_path: Path) -> None:
    for value in ("$(touch pwned)", "`touch pwned`", "'; touch pwned; '"):
        code, said = run("--data_dir", value, "--model", value, "--output_dir", "out", cwd=tmp_path)
        assert code == 3, said
        assert f"no data directory '{value}'" in said
    assert not (tmp_path / "pwned").exists()


def test_a_missing_value_is_named(tmp_path: Path) -> None:
    for arguments in (["--model"], ["--model", "--njob", "2"]):
        code, said = run(*arguments, cwd=tmp_path)
        assert code == 2 and "option --model has no value" in said
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_does_not_exist_stops_before_anything_starts(work: Path) -> None:
    arguments = ["--model", work / "model", "--data_dir", work / "data", "--output_dir", work / "gpu"]
    code, said = run(*arguments, "--gpu_inference", "true", "--gpuid_list", "97", cwd=work)
    assert code == 2, said
    assert "GPU 97 does not exist" in said and "--gpuid_list" in said and "--gpu_inference false" in said
    assert not (work / "gpu").exists()


def test_a_checkpoint_that_does_not_exist_lists_those_that_do(work: Path) -> None:
    code, said = infer(work, "--checkpoint_dir", str(work / "model"), output="checkpoint")
    assert code == 3, said
    assert "no checkpoint 'valid.cer_ctc.ave.pb'" in said and "available: model.pb" in said


def test_an_unsafe_checkpoint_is_refused_with_its_own_exit_code(work: Path) -> None:
    checkpoints = work / "unsafe"
    checkpoints.mkdir()
    (checkpoints / "evil.pb").write_bytes(pickle.dumps(RunsCode()))
    arguments = ["--checkpoint_dir", str(checkpoints), "--checkpoint_name", "evil.pb"]
    code, said = infer(work, "--njob", "3", *arguments, output="unsafe out")
    assert code == 6, said
    assert "3 of 3 jobs failed" in said
    assert not list(work.rglob("pwned")) and not Path("pwned").exists()
    assert not (work / "unsafe out/1best_recog").exists()


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_two_runs_in_one_folder(work: Path) -> None:
    output = work / "locked"
    shutil.copytree(work / "out", output, dirs_exist_ok=True)
    (output / "output.1/done").unlink()
    with open(output / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for njob in ("1", "2"):  # the same plan, and one whose shards would move those of the first away
            code, said = infer(work, "--njob", njob, output="locked")
            assert code == 3 and "another run works in this folder" in said
            assert (output / "output.1").is_dir() and not list(output.glob("output.stale*"))


def test_resume_false_starts_over(work: Path) -> None:
    output = work / "again"
    shutil.copytree(work / "out", output, dirs_exist_ok=True)
    shard = [sys.executable, "-m", "funrecipe", "shard", *recipe_arguments(work, "--njob", "1", output="again")]
    for resume, kept in [("true", True), ("false", False)]:
        subprocess.run([*shard, "--resume", resume], cwd=ROOT, check=True, capture_output=True)
        assert (output / "output.1/done").exists() == kept
    assert not (output / "1best_recog").exists()


def test_output_that_cannot_be_written(work: Path) -> None:
    (work / "a file").write_text("")
    code, said = infer(work, output="a file/below")
    assert code == 5 and "cannot write" in said and "--output_dir" in said
    assert (work / "a file").read_text() == ""


def mounted(script: str, work: Path) -> tuple[int, str]:
    """Run a script with file systems of its own; skips where that takes rights that we do not have."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("no right to mount file systems")
    command = [
        "unshare",
        "-m",
        "bash",
        "-c",
        script,
        "mounted",
        str(ROOT / "egs/asr/infer.sh"),
        *recipe_arguments(work),
    ]
    result = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900)
    return result.returncode, result.stdout


def test_a_read_only_disk(work: Path) -> None:
    (work / "read only").mkdir()
    code, said = mounted(
        'mount -t tmpfs -o ro none "read only" || exit 99; bash "$@" --output_dir "read only/out"', work
    )
    if code == 99:
        pytest.skip(said)
    assert code == 5 and "Read-only file system" in said and "Traceback" not in said


def test_a_full_disk_is_said_and_room_lets_the_run_finish(work: Path) -> None:
    (work / "disk").mkdir()
    script = """
mount -t tmpfs -o size=400k none disk || exit 99
head -c 355k /dev/zero > disk/ballast
bash "$@" --output_dir disk/out && exit 98
ls disk/out/1best_recog 2> /dev/null && exit 97
rm disk/ballast
bash "$@" --output_dir disk/out && cp -r disk/out "full disk"
"""
    code, said = mounted(script, work)
    if code == 99:
        pytest.skip(said)
    assert code == 0, said
    assert "No space left on" in said and "Traceback" not in said
    assert_same_results(work / "full disk", work / "out")
