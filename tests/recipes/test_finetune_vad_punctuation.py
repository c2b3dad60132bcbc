"""egs/vad/finetune.sh and egs/punctuation/finetune.sh, from the pre-flight to the comparison."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from funrecipe.audio.io import length_s, read_audio
from funrecipe.data.kaldi_dir import read_scp
from funrecipe.score.rttm import read_rttm

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "train"))
from tiny_corpus import write_recordings, write_texts  # noqa: E402

PARITY = ROOT / "tests" / "data" / "parity"
ENVIRONMENT = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), env=ENVIRONMENT, capture_output=True, text=True, timeout=900, check=False
    )


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, str]]:
    """``kind -> (output folder, what was printed)`` of the recipe of a kind from its first stage to its last."""
    done = dict[str, tuple[Path, str]]()

    def of(kind: str) -> tuple[Path, str]:
        if kind not in done:
            root, (case, write, counts, settings) = tmp_path_factory.mktemp(kind), KINDS[kind]
            for seed, (name, count) in enumerate(zip(("train", "dev", "test"), counts)):
                write(root / "data" / name, seed, count)
            place = ("--model", PARITY / case, "--data_dir", root / "data", "--output_dir", root / "out")
            ended = run("bash", ROOT / "egs" / kind / "finetune.sh", *place, "--num_workers", 0, *settings)
            assert ended.returncode == 0, ended.stdout + ended.stderr
            done[kind] = root / "out", ended.stdout
        return done[kind]

    return of


KINDS: dict[str, tuple[str, Callable[[Path, int, int], Path], tuple[int, int, int], tuple[object, ...]]] = {
    "vad": ("fsmn_vad", write_recordings, (8, 3, 4), ("--lr", 0.003, "--max_epoch", 12, "--batch_bins", 1300)),
    "punctuation": (
        *("punc_ct_transformer", write_texts, (80, 10, 12)),
        ("--lr", 0.01, "--max_epoch", 6, "--batch_bins", 200),
    ),
}


@pytest.mark.parametrize(("kind", "worst", "best"), [("vad", 20.0, 15.0), ("punctuation", 50.0, 5.0)])
def test_all_stages(kind: str, worst: float, best: float, tuned: Callable[[str], tuple[Path, str]]) -> None:
    output_dir, said = tuned(kind)
    assert all(f"Stage {number}: " in said for number in range(6))
    assert "B - A: -" in said
    results = output_dir / "results"
    if kind == "vad":
        scores = [json.loads((results / f"{name}.vad.json").read_text()) for name in ("base", "tuned")]
        errors = [score["frame_error_percent"] for score in scores]
        spoken = [soundfile.info(path).duration for path in (output_dir.parent / "data/test").rglob("*.wav")]
        for score in scores:  # both systems over all of the audio, so that the difference is that of the two rates
            assert score["speech_s"] + score["silence_s"] == pytest.approx(sum(spoken), abs=0.01)
        difference = float(said.rpartition("frame error, B - A: ")[2].partition(" ")[0])
        assert difference == pytest.approx(errors[1] - errors[0], abs=0.01)
    else:
        scores = [json.loads((results / f"{name}.json").read_text()) for name in ("base", "tuned")]
        errors = [100 - score["marks"]["any"]["f1"] for score in scores]
    assert errors[0] > worst
    assert errors[1] < best


def test_infer_takes_the_weights_of_a_run(tuned: Callable[[str], tuple[Path, str]], tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/punc.txt").write_text("a 我来么你生想的好大了\n")
    command = ["bash", ROOT / "egs/punctuation/infer.sh", "--model", PARITY / "punc_ct_transformer", "--checkpoint_dir",
               tuned("punctuation")[0], "--data_dir", tmp_path / "texts", "--output_dir", tmp_path / "out"]  # fmt: skip
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out/final_res/infer.out").read_text() == "a\t我来么？你生想的，好大了。\n"
    done = run(*command, "--checkpoint_name", "99epoch.pb")
    assert done.returncode == 3
    assert "99epoch.pb" in done.stderr


@pytest.mark.parametrize(
    ("kind", "change", "code", "said"),
    [
        ("vad", lambda test: (test / "segments.ref").unlink(), 3, "no rttm and no segments.ref"),
        ("punctuation", lambda test: (test / "text").unlink(), 3, "no text in"),
        ("punctuation", lambda test: (test / "punc").write_text(""), 3, "stages 4 and 5 need texts with marks"),
    ],
)
def test_an_evaluation_set_without_a_reference_is_refused(
    kind: str, change: object, code: int, said: str, tmp_path: Path
) -> None:
    write = write_recordings if kind == "vad" else write_texts
    change(write(tmp_path / "data/test", 1, 1))  # type: ignore[operator]
    done = run("bash", ROOT / "egs" / kind / "finetune.sh", "--stage", "4", "--stop_stage", "5", "--model",
               PARITY / "fsmn_vad", "--data_dir", tmp_path / "data", "--output_dir", tmp_path / "out")  # fmt: skip
    assert done.returncode == code
    assert said in done.stderr


@pytest.mark.parametrize("kind", ["asr", "vad", "punctuation"])
def test_a_data_directory_without_sets_is_named(kind: str, tmp_path: Path) -> None:
    done = run("bash", ROOT / "egs" / kind / "finetune.sh", "--stage", "4", "--model", PARITY / "fsmn_vad",
               "--data_dir", tmp_path / "data", "--output_dir", tmp_path / "out")  # fmt: skip
    assert done.returncode == 3
    assert f"no test and no validation folder in {tmp_path}/data: give --eval_dir" in done.stderr


def test_the_noisy_recordings_of_the_recipe(tmp_path: Path) -> None:
    done = run(sys.executable, ROOT / "egs/vad/local/noisy_recordings.py", ROOT / "egs/quickstart/data", tmp_path)
    assert done.returncode == 0, done.stderr
    for name, count in (("train", 16), ("validation", 4), ("test", 10)):
        recordings, turns = read_scp(tmp_path / name / "wav.scp"), read_rttm(tmp_path / name / "rttm")
        assert [recording.utt_id for recording in recordings] == sorted(turns)
        assert len(recordings) == count
        for recording in recordings:
            assert max(turn.end_s for turn in turns[recording.utt_id]) < length_s(recording.audio, audio_fs=16000) - 0.5
    first = recordings[0]
    wave, loud = read_audio(first.audio, sample_rate_hz=16000), np.zeros(0)
    for turn in turns[first.utt_id]:
        loud = np.concatenate((loud, wave[round(16000 * turn.start_s) : round(16000 * turn.end_s)]))
    assert (loud**2).mean() > 1.2 * (wave**2).mean()


@pytest.mark.parametrize(
    ("kind", "attempts"),
    [
        ("vad", [("--stage", 5, "--checkpoint_name", "1epoch.pb")]),
        ("punctuation", [("--stage", 4, "--checkpoint_name", "99epoch.pb"), ("--stage", 5)]),
    ],
)
def test_results_of_other_weights_are_not_compared(
    kind: str, attempts: list[tuple[object, ...]], tuned: Callable[[str], tuple[Path, str]]
) -> None:
    out = tuned(kind)[0]
    place = ("--model", PARITY / KINDS[kind][0], "--data_dir", out.parent / "data", "--output_dir", out)
    for attempt in attempts:
        done = run("bash", ROOT / "egs" / kind / "finetune.sh", *place, *attempt)
        assert done.returncode == 3 and "B - A" not in done.stdout, done.stdout + done.stderr
        assert not [*(out / "results").glob("tuned*.json")]
