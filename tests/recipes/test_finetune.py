"""finetune.sh from the pre-flight to the comparison, on a tiny corpus; what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
from tiny_corpus import CONFIG, scratch, some_sentences, write_set  # noqa: E402

RECIPE = Path(__file__).parents[2] / "egs" / "asr" / "finetune.sh"


def finetune(*options: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", str(RECIPE), *options], env=settings, capture_output=True, text=True, timeout=900, check=False
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``data/`` with three sets, one text of which holds an unknown character, and ``model/``, barely trained."""
    import yaml

    from funrecipe.train.run import train

    root = tmp_path_factory.mktemp("finetune")
    write_set(root / "data" / "train", some_sentences(16, 1))
    write_set(root / "data" / "dev", some_sentences(6, 2), seed=100)
    write_set(root / "data" / "test", some_sentences(12, 3), seed=200)
    (root / "config.yaml").write_text(yaml.safe_dump(CONFIG, allow_unicode=True), "utf-8")
    values = "-12.0 " * 160, "0.25 " * 160
    (root / "am.mvn").write_text(
        "<Nnet>\n<AddShift> 160 160\n<LearnRateCoef> 0 [ {}]\n<Rescale> 160 160\n<LearnRateCoef> 0 [ {}]\n".format(
            *values
        )
    )
    flags = scratch(root, root / "model", max_epoch=1, passes_per_epoch=8, lr=0.005) | {"data_dir": str(root / "data")}
    train(flags)
    text = root / "data" / "train" / "text"
    text.write_text(text.read_text("utf-8").replace("utt000 ", "utt000 龙"), "utf-8")
    return root


def test_all_stages_from_preflight_to_comparison(place: Path) -> None:
    out = place / "out"
    result = finetune(
        "--model", str(place / "model"), "--data_dir", str(place / "data"), "--output_dir", str(out),
        "--guard_dir", f"{place / 'data' / 'dev'},{place / 'data' / 'test'}",
        "--max_epoch", "2", "--passes_per_epoch", "12", "--lr", "0.004",
        "--scheduler", "none", "--njob", "1", "--best_model_criterion", "[[valid, cer_decode, min]]",
        "--extend_vocab", "true", "--keep_nbest_models", "3",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert "1 tokens added: 龙" in result.stderr
    compared = json.loads((out / "results" / "eval.compare.json").read_text())
    assert compared["second"]["errors"] < compared["first"]["errors"]
    assert (out / "results" / "guard.dev.compare.json").is_file()
    assert (out / "results" / "guard.test.compare.json").is_file()
    assert "MAPSSWE" in result.stdout
    record = json.loads((out / "valid.cer_decode.ave.json").read_text())
    assert sorted(record["epochs"]) == [1, 2]
    assert sorted(path.name for path in (place / "model").glob("*.pb")) == sorted(
        path.name
        for path in (place / "model").glob("*.pb")
        if path.stat().st_mtime < (out / "config.yaml").stat().st_mtime
    ), "the base folder was written to"
    stage_5 = (
        "--model", str(place / "model"), "--data_dir", str(place / "data"), "--output_dir", str(out), "--njob", "1",
        "--extend_vocab", "true", "--stage", "5",
    )  # fmt: skip
    result = finetune(*stage_5)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (out / "results" / "eval.compare.json").is_file()
    for other in (("--checkpoint_name", "1epoch.pb"), ("--eval_dir", str(place / "data" / "dev"))):
        result = finetune(*stage_5, *other)  # stage 4 decoded this with other weights, or decoded other audio
        assert result.returncode == 3 and "MAPSSWE" not in result.stdout
        assert not (out / "results" / "eval.compare.json").is_file()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--max_epochs", "3"), 2, "max_epoch"),
        (("--optim", "adamm"), 2, "adam"),
        (("--data_dir", "nowhere"), 3, "nowhere"),
        (("--stage", "4", "--checkpoint_name", "best.pb"), 3, "valid.acc.ave.pb"),
    ],
)
def test_mistakes_end_the_recipe_with_a_reason(
    place: Path, tmp_path: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    out = place / "model" if "--stage" in options else tmp_path / "out"
    base = ("--model", str(place / "model"), "--data_dir", str(place / "data"), "--output_dir", str(out), "--njob", "1")
    result = finetune(*base, *options)
    assert result.returncode == code, result.stderr
    assert said in result.stderr


def test_stages_after_training_decode_with_the_same_back_end(place: Path, tmp_path: Path) -> None:
    """Here without its commands."""
    for name in ("bash", "readlink", "dirname", "basename", "mkdir", "rm", "rmdir"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    settings = {**os.environ, "PYTHON": sys.executable, "PATH": str(tmp_path)}
    result = subprocess.run(
        ["bash", str(RECIPE), "--model", str(place / "model"), "--data_dir", str(place / "data"), "--stage", "4",
         "--output_dir", str(place / "model"), "--backend", "slurm", "--max_retries", "7"],
        env=settings, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 2 and "'sbatch' is not on this machine's PATH" in result.stderr, result.stderr
