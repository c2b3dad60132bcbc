"""The folder of a run: one run at a time, no other model's, nothing left of killed runs; what the log says."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_corpus import scratch

from funrecipe.errors import DataError, UsageError, WriteError
from funrecipe.processes import only_run_in
from funrecipe.train.progress_log import read_json_lines
from funrecipe.train.run import train

ROOT = Path(__file__).parents[2]


def short(corpus: Path, output_dir: Path, **settings: Any) -> dict[str, Any]:
    return scratch(corpus, output_dir, **{"max_epoch": 1, "valid_decode": False, **settings})


def log_of(output_dir: Path) -> str:
    return (output_dir / "train.log.0").read_text("utf-8")


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("check", [None, "data", "model"])
def test_a_folder_that_another_run_uses_is_refused(check: str | None, corpus: Path, tmp_path: Path) -> None:
    with only_run_in(tmp_path), pytest.raises(DataError, match="another run works in this folder"):
        train(short(corpus, tmp_path), check=check)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    "files",
    [
        ("config.yaml", "model.pb", "am.mvn", "tokens.txt"),
        ("configuration.json", "config.yaml", "model.pt"),
        ("model.pb",),
        ("vad.yaml", "vad.pb"),
        ("model.safetensors", "config.json"),
        ("final.mdl",),
    ],
)
def test_another_models_folder_is_never_written_into(files: tuple[str, ...], corpus: Path, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).write_text("model: paraformer\n")
    before = files_of(tmp_path)
    for check in (None, "data", "model"):
        with pytest.raises(UsageError, match="the folder of another model"):
            train(short(corpus, tmp_path, resume=False), check=check)
    assert files_of(tmp_path) == before


def test_a_run_that_cannot_be_resumed_leaves_the_folder_as_it_is(corpus: Path, tmp_path: Path) -> None:
    train(short(corpus, tmp_path))
    before = {name: (tmp_path / name).read_bytes() for name in ("config.yaml", "configuration.json", "checkpoint.pb")}
    with pytest.raises(UsageError, match="optim is sgd, and was adamw"):
        train(short(corpus, tmp_path, optim="sgd", best_model_criterion=[["valid", "loss", "min"]]))
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_what_killed_runs_were_writing_is_removed(corpus: Path, tmp_path: Path) -> None:
    unfinished = [".checkpoint.pb.tmp-host-12ab34cd", ".3epoch.pb.tmp-other-00"]
    for name in unfinished:
        (tmp_path / name).write_bytes(b"half of it")
    (tmp_path / ".notes.tmp.txt").write_text("the user's own")
    train(short(corpus, tmp_path, max_steps=1))
    assert not {path.name for path in tmp_path.iterdir()} & set(unfinished)
    assert (tmp_path / ".notes.tmp.txt").exists()
    assert "removed 2 unfinished files" in log_of(tmp_path)


def test_a_run_whose_checkpoint_is_gone_says_that_it_starts_beside_old_epochs(corpus: Path, tmp_path: Path) -> None:
    flags = short(corpus, tmp_path, max_steps=1)
    train(flags)
    assert "to resume from" not in log_of(tmp_path)
    for path in tmp_path.glob("checkpoint*.pb"):
        path.unlink()
    train(flags)
    assert "no checkpoint.pb to resume from: training starts at epoch 1, with 1 epoch (*epoch.pb)" in log_of(tmp_path)


def test_a_wrong_criterion_is_found_before_the_first_update(corpus: Path, tmp_path: Path) -> None:
    for wrong in ({"best_model_criterion": [["valid", "cer_ctc", "min"]]},
                  {"patience": 1, "early_stopping_criterion": ["valid", "cer_decode", "min"]},
                  {"scheduler": "reducelronplateau", "val_scheduler_criterion": ["train", "cer"]}):  # fmt: skip
        with pytest.raises(DataError, match=r"(?s)no value \w+\.cer.*choose from .*valid\.acc"):
            train(short(corpus, tmp_path, **wrong))
        assert read_json_lines(tmp_path / "steps.jsonl") == []
    train(short(corpus, tmp_path, max_steps=1, best_model_criterion=[["train", "loss", "min"]]))


def test_the_log_says_what_is_in_force_and_what_batch_bins_means(corpus: Path, tmp_path: Path) -> None:
    train(short(corpus, tmp_path, batch_bins=100, accum_grad=2), from_file={"lr": "my.conf"})
    log = log_of(tmp_path)
    assert "lr: 0.003 (my.conf)" in log
    assert re.search(r"model_conf: \{.*\} \(config\.yaml\)", log)
    assert "optim: adamw (command line)" in log
    assert re.search(r"defaults: .*grad_clip: 5\.0", log)
    [batches] = re.findall(r"batch_bins 100 model_frames = 3 s of audio, padding included; (\d+) batches and", log)
    steps = read_json_lines(tmp_path / "steps.jsonl")
    assert steps[-1]["batch"] == int(batches)
    assert f"and {len(steps)} updates per epoch" in log
    assert re.search(r"batch:\d+num_updates: .*, time_left=0:0\d:\d\d", log)


def test_the_last_lines_name_the_average_and_a_command_that_decodes_with_it(corpus: Path, tmp_path: Path) -> None:
    output_dir = tmp_path / "a run"
    train(short(corpus, output_dir, max_epoch=2))
    log = log_of(output_dir)
    assert f"the average of the best epochs: {output_dir}/valid.acc.ave.pb" in log
    [command] = re.findall(r"decode with it: (.*)", log)
    words = shlex.split(command)
    assert words[0] == "bash" and Path(words[1]).is_file()
    result = subprocess.run(
        [*words, "--njob", "1"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert (output_dir / "results" / "1best_recog" / "text.cer").is_file()


def test_a_finished_run_says_that_nothing_is_left_to_do(corpus: Path, tmp_path: Path) -> None:
    train(short(corpus, tmp_path))
    before = {name: (tmp_path / name).read_bytes() for name in ("steps.jsonl", "checkpoint.pb", "1epoch.pb")}
    train(short(corpus, tmp_path))
    assert "nothing left to do: max_epoch 1" in log_of(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def flip(path: Path, where: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * where)] ^= 16
    path.write_bytes(content)


def middle_of_record(path: Path, place: float) -> float:
    """The place of a byte that matters, in the record of the archive that is nearest: between records is padding."""
    with zipfile.ZipFile(path) as archive:
        starts = {info.filename: info.header_offset for info in archive.infolist() if info.file_size > 500}
        content = {name: archive.read(name) for name in starts}
    whole = path.read_bytes()
    middles = [whole.index(content[name], start) + len(content[name]) // 2 for name, start in starts.items()]
    return min((middle / len(whole) for middle in middles), key=lambda x: abs(x - place))


def test_a_flipped_bit_in_the_checkpoint_costs_the_updates_since_the_one_before(corpus: Path, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    train(short(corpus, undisturbed, save_interval=1, max_epoch=1))
    damaged = [Path(shutil.copytree(undisturbed, tmp_path / str(n), symlinks=True)) for n in range(1, 5)]
    for number, folder in enumerate(damaged, start=1):
        flip(folder / "checkpoint.pb", middle_of_record(folder / "checkpoint.pb", number / 5))
    for folder in (undisturbed, *damaged):
        train(short(corpus, folder, save_interval=1, max_epoch=2))
    steps = [[record["loss"] for record in read_json_lines(f / "steps.jsonl")] for f in (undisturbed, *damaged)]
    final = [torch.load(folder / "2epoch.pb", weights_only=True) for folder in (undisturbed, *damaged)]
    for folder, losses, weights in zip(damaged, steps[1:], final[1:]):
        assert "checkpoint.pb is damaged: not a readable checkpoint: checksum mismatch" in log_of(folder)
        assert losses == steps[0]
        assert all(torch.equal(final[0][name], weights[name]) for name in final[0])


@pytest.mark.parametrize(
    "content", [[1, 2], {"model": {}}, {"model": {}, "optimizers": [], "position": {"epoch": "x"}}]
)
def test_a_checkpoint_of_something_else_is_refused(content: Any, corpus: Path, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "checkpoint.pb")
    with pytest.raises(DataError, match=r"(?s)not a checkpoint of a training run|does not belong to these settings"):
        train(short(corpus, tmp_path))


def test_a_run_whose_checkpoints_are_all_damaged_stops(corpus: Path, tmp_path: Path) -> None:
    train(short(corpus, tmp_path, save_interval=1))
    for name in ("checkpoint.pb", "checkpoint.previous.pb"):
        flip(tmp_path / name, 0.5)
    with pytest.raises(DataError, match=r"(?s)checksum mismatch.*checkpoint\.pb.*--resume false"):
        train(short(corpus, tmp_path, max_epoch=2))


def test_a_flipped_bit_in_the_base_model_or_an_epoch_is_found(corpus: Path, tmp_path: Path) -> None:
    train(short(corpus, tmp_path / "base"))
    flip(tmp_path / "base" / "1epoch.pb", 0.5)
    flags = short(corpus, tmp_path / "tuned") | {"model": str(tmp_path / "base")}
    del flags["config"], flags["cmvn_file"]
    with pytest.raises(DataError, match=r"(?s)checksum mismatch.*base"):
        train(flags)


def test_starting_over_forgets_the_checkpoints_of_the_run_before(corpus: Path, tmp_path: Path) -> None:
    train(short(corpus, tmp_path, max_epoch=2))
    train(short(corpus, tmp_path, resume=False, optim="sgd"))
    flip(tmp_path / "checkpoint.pb", 0.5)
    with pytest.raises(DataError, match="checksum mismatch"):  # and not the other run's, which had adamw
        train(short(corpus, tmp_path, max_epoch=2))


def test_starting_over_leaves_no_weights_or_values_of_the_run_before(corpus: Path, tmp_path: Path) -> None:
    train(short(corpus, tmp_path, max_epoch=3))
    (tmp_path / "notes.txt").write_text("the user's own")
    wrong = {"resume": False, "best_model_criterion": [["valid", "cer_ctc", "min"]]}
    before = files_of(tmp_path)
    with pytest.raises(DataError, match=r"no value valid\.cer_ctc"):
        train(short(corpus, tmp_path, **wrong))
    with pytest.raises(UsageError, match="init_param is in output_dir"):
        train(short(corpus, tmp_path, resume=False, init_param=[str(tmp_path / "valid.acc.ave.pb")]))
    kept = files_of(tmp_path)
    assert all(kept[name] == content for name, content in before.items() if not name.endswith(("train.log.0", ".lock")))
    train(short(corpus, tmp_path, resume=False, keep_nbest_models=5, best_model_criterion=[["valid", "loss", "min"]]))
    weights = {path.name for path in tmp_path.glob("*.pb")}
    averages = {f"valid.loss.{name}.pb" for name in ("best", "ave", "ave_1best", "ave_5best")}
    assert weights == {"1epoch.pb", "latest.pb", "checkpoint.pb"} | averages
    assert [record["epoch"] for record in read_json_lines(tmp_path / "metrics.jsonl")] == [1]
    assert (tmp_path / "notes.txt").exists()


def test_a_full_disk_is_said_with_the_file_and_costs_no_more_than_lines_of_the_log(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("train.log.0", "steps.jsonl"):
        (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(WriteError, match=r"(?s)cannot write steps\.jsonl: No space.*make room on that disk"):
        train(short(corpus, tmp_path))
    (tmp_path / "steps.jsonl").unlink()
    train(short(corpus, tmp_path))
    assert "Traceback" not in capfd.readouterr().err
    assert (tmp_path / "valid.acc.ave.pb").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_before_the_first_update_is_an_interruption(number: int, corpus: Path, tmp_path: Path) -> None:
    flags = [f"--{name}={json.dumps(v) if not isinstance(v, str) else v}"
             for name, v in short(corpus, tmp_path, max_epoch=500).items()]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "funrecipe", "train", *flags], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)],
    )  # fmt: skip
    while not (tmp_path / ".lock").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert said.endswith("funrecipe train: interrupted\n") or "stopped by signal" in said
    assert "Traceback" not in said


def test_a_recipe_that_is_killed_outright_takes_the_trainer_with_it(corpus: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.sh"
    recipe.write_text(f'source {ROOT}/utils/recipe.sh\nfunrecipe train "$@"\n')
    output_dir = tmp_path / "out"
    flags = [f"--{name}={json.dumps(v) if not isinstance(v, str) else v}"
             for name, v in short(corpus, output_dir, max_epoch=500).items()]  # fmt: skip
    process = subprocess.Popen(
        ["bash", str(recipe), *flags], env={**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not read_json_lines(output_dir / "steps.jsonl") and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stderr is not None
    said = process.stderr.read()  # ends when the trainer has closed it
    assert "stopped by signal 15 after update" in said
    train(short(corpus, output_dir, max_epoch=500, max_steps=1))  # the lock is free, and the checkpoint whole
