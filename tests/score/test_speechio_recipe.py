"""egs/speechio: test sets in both layouts, one table, and the leaderboard's entry; with a real model."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).resolve().parents[2]
QUICKSTART = REPO / "egs/quickstart"
LOCAL = REPO / "egs/speechio/local"
DECODING = ["--njob", "1", "--ncpu", "1", "--gpu_inference", "false"]
ENVIRONMENT = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}


def run(*command, code=0):
    result = subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8", env=ENVIRONMENT)
    assert result.returncode == code, result.stdout + result.stderr
    return result


def speech(count):
    wavs = dict(line.split(None, 1) for line in (QUICKSTART / "data/wav.scp").read_text().splitlines())
    texts = dict(line.split(None, 1) for line in (QUICKSTART / "data/text").read_text(encoding="utf-8").splitlines())
    return [(i, QUICKSTART / "data" / wavs[i], texts[i]) for i in sorted(wavs)[:count]]


def make_sets(folder):
    """ZH00001 with wav.scp and trans.txt, ZH00002 with metadata.tsv, one utterance of which is too long."""
    (first, audio, text), (second, other_audio, other_text) = speech(2)
    one, two = (folder / f"SPEECHIO_ASR_ZH0000{n}" for n in (1, 2))
    for target in (one, two):
        (target / "wav").mkdir(parents=True)
        shutil.copy(audio, target / "wav" / audio.name)
    shutil.copy(other_audio, two / "wav" / other_audio.name)
    (one / "wav.scp").write_text(f"{first}\twav/{audio.name}\n")
    (one / "trans.txt").write_text(f"{first}\t{text}\n", encoding="utf-8")
    (two / "metadata.tsv").write_text(
        "ID\tAUDIO\tDURATION\tTEXT\n"
        f'{first}\twav/{audio.name}\t60.1\t"{text}\n{second}\twav/{other_audio.name}\t4.5\t"{other_text}\n',
        encoding="utf-8",
    )
    return one, two


def test_metadata_becomes_a_data_directory(tmp_path):
    _, two = make_sets(tmp_path / "the sets")
    data = tmp_path / "data"
    printed = run(sys.executable, LOCAL / "prepare_set.py", two, data, "--max_duration", "59.9").stdout
    assert "1 of 2 utterances are longer than 59.9 s" in printed
    (_, _, _), (second, audio, text) = speech(2)
    assert (data / "wav.scp").read_text() == f"{second} {two / 'wav' / audio.name}\n"
    assert (data / "text").read_text(encoding="utf-8") == f'{second} "{text}\n'
    assert (data / "utt2dur").read_text() == f"{second} 4.5\n"
    run(sys.executable, LOCAL / "prepare_set.py", two, data)
    assert len((data / "wav.scp").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("ID\tAUDIO\tTEXT\n", "DURATION"),
        ("ID\tAUDIO\tDURATION\tTEXT\na\tb\t3\n", "metadata.tsv:2"),
        ("ID\tAUDIO\tDURATION\tTEXT\na\tb\tlong\tc\n", "is not a duration"),
        (None, "not a SpeechIO test set"),
    ],
)
def test_faults_of_a_set_are_named(tmp_path, metadata, message):
    if metadata:
        (tmp_path / "metadata.tsv").write_text(metadata)
    result = run(sys.executable, LOCAL / "prepare_set.py", tmp_path, tmp_path / "data", code=3)
    assert message in result.stderr and not (tmp_path / "data").exists()


def test_table_pools_and_does_not_average(tmp_path):
    for name, wrong, tokens in (("SPEECHIO_ASR_ZH00001", 1, 100), ("SPEECHIO_ASR_ZH00002", 5, 10)):
        ref = "一" * tokens
        (tmp_path / "ref").write_text(f"a {ref}\nb {ref}\n", encoding="utf-8")
        (tmp_path / "hyp").write_text(f"a {'二' * wrong + ref[wrong:]}\n", encoding="utf-8")
        out = tmp_path / "out" / name / "1best_recog"
        run(
            sys.executable,
            "-m",
            "funrecipe",
            "score",
            "--protocol",
            "speechio",
            "--ref",
            tmp_path / "ref",
            "--hyp",
            tmp_path / "hyp",
            "--out_dir",
            out,
        )
    sets = ("SPEECHIO_ASR_ZH00001", "SPEECHIO_ASR_ZH00002")
    printed = run(sys.executable, LOCAL / "table.py", tmp_path / "out", *sets).stdout
    # 6 of 110 tokens, not (1 % + 50 %) / 2; strict: the missing hypotheses are 110 more errors of 220 tokens.
    assert "| all | 5.45 | 52.73 | 6 / 110 | 6 | 0 | 0 | 2 / 4 |" in printed
    assert json.loads((tmp_path / "out/results.json").read_text())["all"]["strict_errors"] == 116


def test_recipe_over_two_sets(greedy_model, tmp_path):
    one, two = make_sets(tmp_path / "the sets")
    out = tmp_path / "out dir"
    printed = run(
        "bash",
        REPO / "egs/speechio/run.sh",
        "--model",
        greedy_model,
        "--output_dir",
        out,
        "--max-duration=59.9",
        *DECODING,
        one,
        f"{two}/",
    ).stdout
    rows = [line for line in printed.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0][2:] for row in rows] == ["set", one.name, two.name, "all"]
    assert rows[-1].endswith("| 2 / 2 |") and (out / "RESULTS.md").exists()
    for name in ("DETAILS.txt", "RESULTS.txt", "ref.txt"):
        assert (out / "SPEECHIO_ASR_ZH00001/1best_recog" / name).exists()


def test_two_sets_of_one_name_do_not_share_a_folder(tmp_path):
    for again in ("ZH1", tmp_path / "other" / "ZH1"):
        refused = run(
            "bash", REPO / "egs/speechio/run.sh", "--output_dir", tmp_path / "out", "ZH1", "ZH2", again, code=2
        )
        assert "more than one test set is named ZH1" in refused.stdout + refused.stderr
    assert not (tmp_path / "out").exists()


def test_leaderboard_entry(greedy_model, tmp_path):
    ((first, audio, _),) = speech(1)
    (tmp_path / "list.scp").write_text(f"{first}\t{audio}\n")
    out = tmp_path / "out"
    model = f"FUNRECIPE_MODEL={greedy_model}"
    run("env", model, REPO / "tools/speechio/SBI", tmp_path / "list.scp", out, *DECODING)
    (line,) = (out / "raw_rec.txt").read_text(encoding="utf-8").splitlines()
    recognized = (out / "funrecipe/1best_recog/text").read_text(encoding="utf-8").split(None, 1)[1]
    assert line.startswith(f"{first}\t") and line.split("\t")[1] == "".join(recognized.split())


def test_words_are_joined_beside_chinese_only(tmp_path):
    (tmp_path / "text").write_text("a 我 女 儿 用 i phone 十 二\nb hello world\n", encoding="utf-8")
    run(sys.executable, REPO / "tools/speechio/join_words.py", tmp_path / "text", tmp_path / "raw")
    assert (tmp_path / "raw").read_text(encoding="utf-8") == "a\t我女儿用i phone十二\nb\thello world\n"


def test_a_copied_entry_finds_funrecipe_or_says_what_to_set(greedy_model, tmp_path):
    entry = tmp_path / "models/mine"
    shutil.copytree(REPO / "tools/speechio/model_template", entry)
    environment = {**os.environ, "FUNRECIPE_MODEL": str(greedy_model), "PYTHON": sys.executable}
    environment.pop("FUNRECIPE_ROOT", None)
    first, path = (REPO / "egs/quickstart/data/wav.scp").read_text().split()[:2]
    (tmp_path / "wav.scp").write_text(f"{first} {REPO / 'egs/quickstart/data' / path}\n")
    command = [str(entry / "SBI"), str(tmp_path / "wav.scp"), str(tmp_path / "out"), "--njob", "1", "--beam_size", "1"]
    lost = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert lost.returncode == 2 and "set FUNRECIPE_ROOT" in lost.stderr
    found = subprocess.run([*command, *DECODING], env={**environment, "FUNRECIPE_ROOT": str(REPO)}, capture_output=True)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "out/raw_rec.txt").read_text(encoding="utf-8").startswith(f"{first}\t")


def test_the_template_is_what_the_leaderboard_checks():
    """What its ops/benchmark asks for: model.yaml, SBI, docker/Dockerfile; benchmark.sh greps `language`."""
    template = REPO / "tools/speechio/model_template"
    described = (template / "model.yaml").read_text(encoding="utf-8")
    info = yaml.safe_load(described)
    assert info["task"] == "ASR" and info["language"] == "zh"
    assert [line for line in described.splitlines() if "language" in line] == ["language: zh"]
    assert os.access(template / "SBI", os.X_OK) and (template / "docker/Dockerfile").is_file()


def test_the_first_utterances_of_a_set(tmp_path):
    (tmp_path / "wav.scp").write_text("a a.wav\nb b.wav\nc c.wav\n")
    (tmp_path / "trans.txt").write_text("a 一\nb 二\nc 三\n")
    out = tmp_path / "data"
    run(sys.executable, REPO / "egs/speechio/local/prepare_set.py", tmp_path, out, "--max_num_utts", "2")
    assert (out / "wav.scp").read_text() == "a a.wav\nb b.wav\n" and (out / "text").read_text() == "a 一\nb 二\n"
