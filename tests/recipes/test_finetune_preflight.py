"""What stage 0 of finetune.sh finds in a user's data, and how it ends."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
from tiny_corpus import CONFIG, scratch, some_sentences, write_set  # noqa: E402

from funrecipe.cli import main  # noqa: E402
from funrecipe.train.run import train  # noqa: E402

QUICKSTART = Path(__file__).parents[2] / "egs" / "quickstart"


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clean")
    write_set(root / "data" / "train", some_sentences(24, 1))
    write_set(root / "data" / "validation", some_sentences(6, 2), seed=100)
    (root / "config.yaml").write_text(yaml.safe_dump(CONFIG, allow_unicode=True), "utf-8")
    (root / "am.mvn").write_text(
        f"<Nnet>\n<AddShift> 160 160\n<LearnRateCoef> 0 [ {'-12.0 ' * 160}]\n"
        f"<Rescale> 160 160\n<LearnRateCoef> 0 [ {'0.25 ' * 160}]\n</Nnet>\n"
    )
    train(scratch(root, root / "model", max_steps=1) | {"data_dir": str(root / "data")})
    return root


@pytest.fixture()
def place(clean: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(clean, tmp_path / "place", symlinks=True)
    return tmp_path / "place"


@pytest.fixture()
def preflight(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """``folder, options -> exit code, what was said`` of the command of stage 0."""

    def run(place: Path, *options: str) -> tuple[int, str]:
        folders = [f"--model={place}/model", f"--data_dir={place}/data", f"--output_dir={place}/out"]
        code = main(["train", *folders, "--check=data", *options])
        return code, capsys.readouterr().err

    return run


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text("utf-8")), "utf-8")


def nan_audio(place: Path) -> None:
    for i in range(3):
        path = place / "data" / "train" / "wav" / f"utt{i:03d}.wav"
        soundfile.write(path, np.array([0.1, np.nan] * 8000, dtype=np.float32), 16000, subtype="FLOAT")


def other_keys(place: Path) -> None:
    edit(place / "data" / "train" / "text", lambda text: text.replace("utt", "other"))


def texts_too_long_for_their_audio(place: Path) -> None:
    edit(place / "data" / "train" / "text", lambda text: text.replace("\n", "一二三四五六" * 12 + "\n", 3))


def shuffled_texts(place: Path) -> None:
    """The same keys; the sentences in reverse order of the keys, after sorting them by length."""
    lines = [line.split() for line in (place / "data" / "train" / "text").read_text("utf-8").splitlines()]
    ordered = sorted((text for _, text in lines), key=len)
    waves = sorted((key for key, _ in lines), key=lambda k: -soundfile.info(place / f"data/train/wav/{k}.wav").frames)
    edit(place / "data" / "train" / "text", lambda _: "".join(f"{k} {t}\n" for k, t in zip(waves, ordered)))


def empty_list(place: Path) -> None:
    (place / "data" / "train" / "wav.scp").write_text("")


def empty_text(place: Path) -> None:
    (place / "data" / "train" / "text").write_text("")


def no_unk(place: Path) -> None:
    for name in ("tokens.txt", "config.yaml"):
        edit(place / "model" / name, lambda text: text.replace("<unk>", "七"))


def no_text(place: Path) -> None:
    (place / "data" / "validation" / "text").unlink()


@pytest.mark.parametrize(
    ("damage", "code", "said"),
    [
        (nan_audio, 3, "dropped 3: unreadable audio: samples are not finite"),
        (other_keys, 3, "no utterance can be used"),
        (texts_too_long_for_their_audio, 3, "dropped 3: more tokens than the audio can hold (utt000, utt001, utt002)"),
        (shuffled_texts, 0, "are the texts those of other recordings?"),
        (empty_list, 3, "wav.scp"),
        (empty_text, 3, "text"),
        (no_unk, 3, "the token list has no <unk>"),
        (no_text, 3, "no file 'text'"),
    ],
)
def test_faults_are_found_before_anything_is_trained(
    damage: Callable[[Path], None], code: int, said: str, place: Path, preflight: Callable[..., tuple[int, str]]
) -> None:
    damage(place)
    found, stderr = preflight(place)
    assert (found, said in stderr) == (code, True), stderr


def test_clean_data_pass_and_unknown_tokens_are_listed(place: Path, preflight: Callable[..., tuple[int, str]]) -> None:
    edit(place / "data" / "train" / "text", lambda text: text.replace("utt000 ", "utt000 龙龙"))
    code, stderr = preflight(place)
    assert code == 0, stderr
    assert "24 of 24 utterances usable" in stderr
    assert "2 tokens of 1 kinds are not in the vocabulary and became <unk>: 龙x2" in stderr
    assert "other recordings" not in stderr


def test_the_texts_of_other_recordings_are_heard(tmp_path: Path, preflight: Callable[..., tuple[int, str]]) -> None:
    """Real speech, a model that understands some of it, and every text moved to the next key."""
    texts = [line.split(maxsplit=1) for line in (QUICKSTART / "data" / "text").read_text("utf-8").splitlines()]
    wavs = (QUICKSTART / "data" / "wav.scp").read_text("utf-8").replace(" wav/", f" {QUICKSTART}/data/wav/")
    for name in ("train", "validation"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "wav.scp").write_text(wavs, "utf-8")
        moved = [f"{key} {text}\n" for (key, _), (_, text) in zip(texts, [*texts[1:], texts[0]])]
        (tmp_path / "data" / name / "text").write_text("".join(moved), "utf-8")
    code, stderr = preflight(tmp_path, f"--model={QUICKSTART}/model")
    assert code == 3, stderr
    assert "match another utterance's transcript better than their own" in stderr
