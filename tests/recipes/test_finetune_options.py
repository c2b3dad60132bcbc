"""Every flag of finetune.sh changes which commands it runs, or is refused. A stand-in for Python notes the commands."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from funrecipe.train.options import DEFAULTS, KNOWN, NOT_FROM_FILES, as_text
from tools.write_option_lists import train_settings

SETTINGS = Path(__file__).parents[2] / "utils" / "train_settings.sh"
RECIPE = Path(__file__).parents[2] / "egs" / "asr" / "finetune.sh"
FROM_SCRATCH = {
    "config",
    "token_list",
    "cmvn_file",
    "pretrained",
}  # of funrecipe train; finetune.sh starts from a model
TWO_MACHINES = ("--num_nodes", "2", "--master", "first:29500")
ON_SLURM = ("--backend", "slurm")
# the recipe's own flags -> (a value, further flags of both of the runs that are compared)
OWN: dict[str, tuple[str, tuple[str, ...]]] = {
    "stage": ("2", ()),
    "stop_stage": ("1", ()),
    "model": ("some/model", ()),
    "data_dir": ("other", ()),
    "output_dir": ("elsewhere", ()),
    "eval_dir": ("other/test", ()),
    "guard_dir": ("general", ()),
    "target_config": ("target.yaml", ()),
    "token_list": ("tokens.txt", ("--target_config", "target.yaml")),
    "spliced": ("7", ()),
    "checkpoint_name": ("latest.pb", ()),
    "num_gpus": ("2", ()),
    "num_processes": ("2", ()),
    "num_nodes": ("3", TWO_MACHINES),
    "node_rank": ("1", TWO_MACHINES),
    "master": ("second:29500", TWO_MACHINES),
    "max_restarts": ("3", ()),
    "njob": ("5", ()),
    "gpu_inference": ("false", ()),
    "config": ("@njob=5\nnum_gpus=2\n", ()),
    "backend": ("slurm", ()),
    "backend_opts": ("site.yaml", ON_SLURM),
    "max_retries": ("4", ON_SLURM),
    "on_interrupt": ("leave", ON_SLURM),
    "stall_timeout_s": ("60", ()),
}
DECODING = {"launcher"}  # has an effect in stages 4 and 5 only


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data directory, and a ``python`` that notes its arguments and answers what the recipe asks."""
    root = tmp_path_factory.mktemp("stand_in")
    for name in ("data/train", "data/validation", "data/test", "other/test", "general"):
        (root / name).mkdir(parents=True)
        (root / name / "text").write_text("")
    python = root / "python"
    python.write_text(
        '#!/bin/bash\necho "$*" >> "$CALLS"\n'
        'case "$*" in\n'
        "  *--print_criterion*) echo valid,acc,max ;;\n"
        "  *--check*) ;;\n"
        '  *" merge "*) all=$*; plan=${all#*--plan=}; results=$(dirname "${plan%% *}")/1best_recog\n'
        '    mkdir -p "$results"; : > "$results/text" ;;\n'
        '  *" train "*) if [ -n "${KILLED:-}" ]; then kill -9 $$; fi ;;\n'
        "esac\n"
    )
    python.chmod(0o755)
    return root


@pytest.fixture(scope="module")
def calls(stand_in: Path):
    """``flags -> commands``, or what was said when the recipe refused them."""

    @cache
    def run(*flags: str) -> str:
        noted = stand_in / "calls"
        noted.write_text("")
        environment = {**os.environ, "PYTHON": str(stand_in / "python"), "CALLS": str(noted)}
        command = ["bash", str(RECIPE), *flags]
        result = subprocess.run(command, cwd=stand_in, env=environment, capture_output=True, text=True, check=False)
        return noted.read_text() + (result.stderr if result.returncode == 2 else "")

    return run


@cache
def help_text() -> str:
    return subprocess.run(["bash", str(RECIPE), "--help"], capture_output=True, text=True, check=True).stdout


def flags_in_help() -> frozenset[str]:
    return frozenset(re.findall(r"^  --(\w+) ", help_text(), re.MULTILINE))


def settings() -> list[str]:
    return sorted(KNOWN.keys() - FROM_SCRATCH - OWN.keys())


def test_help_lists_every_setting_of_training_and_no_flag_without_a_row() -> None:
    assert flags_in_help() == {*OWN, *DECODING, *settings(), "help"}


def test_the_list_of_settings_is_that_of_train_options() -> None:
    assert SETTINGS.read_text("utf-8") == train_settings(), "run: python -m tools.write_option_lists"


@pytest.mark.parametrize("name", settings())
def test_help_says_of_each_setting_what_train_options_says(name: str) -> None:
    [line] = [line for line in help_text().splitlines() if line.split()[:1] == [f"--{name}"]]
    assert f" {KNOWN[name].metadata['help']} (default: " in line
    assert line.endswith(f"{as_text(getattr(DEFAULTS, name))})")
    assert ("from the model" in line) == (name not in NOT_FROM_FILES)


def test_the_checks_know_the_gpus_that_a_precision_needs(calls) -> None:
    trainings = [line for line in calls("--precision", "fp16", "--num_gpus", "1").splitlines() if " train " in line]
    assert len(trainings) == 3
    assert all("--num_gpus 1" in line for line in trainings)


def test_the_log_of_training_can_name_the_configuration_file(calls, stand_in: Path) -> None:
    (stand_in / "my.conf").write_text("lr=0.1\nmax_epoch=3\noptim=sgd\n")
    trainings = [line for line in calls("--lr", "0.2", "--config", "my.conf").splitlines() if " train " in line]
    assert all("--from_file=my.conf:,max_epoch,optim," in line for line in trainings)
    assert "--from_file" not in calls("--lr", "0.3")


@pytest.mark.parametrize("name", OWN)
def test_every_flag_of_the_recipe_changes_what_is_run(name: str, calls, stand_in: Path) -> None:
    value, together = OWN[name]
    if value.startswith("@"):
        (stand_in / "conf").write_text(value[1:])
        value = "conf"
    plain, changed = calls(*together), calls(*together, f"--{name}", value)
    assert "funrecipe train" in plain
    assert changed != plain
    assert "funrecipe" in changed, changed  # it runs; a refusal would not show that the value arrives


@pytest.mark.parametrize("name", settings())
def test_every_setting_arrives_at_each_stage_that_needs_it(name: str, calls) -> None:
    trainings = [line for line in calls(*(f"--{each}=7x" for each in settings())).splitlines() if " train " in line]
    assert len(trainings) == 3  # data, model, training
    assert all(f" --{name}=7x" in line for line in trainings)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--num_processes", "0"), "must be 1 or more"),
        (("--num_processes", "2", "--num_gpus", "2"), "leave out --num_processes"),
        (("--node_rank", "1"), "--num_nodes 1"),
        (("--num_nodes", "2"), "--master HOST:PORT"),
        (("--num_nodes", "2", "--master", "host"), "--master HOST:PORT"),
        (("--master", "host:1"), "--num_nodes"),
        (("--max_restarts", "-1"), "0 or more"),
        (("--batch_binss", "3"), "--batch_bins"),
        (("--spliced", "-1"), "0 or more"),
        (("--njob", "0"), "1 or more"),
        (("--guard_dir", "a/test,b/dev,c/test"), "two folders are named 'test'"),
        (("--guard_dir", "a,,b"), "has an empty name"),
        (("--spliced", "5", "--more_train_dirs", "other"), "leave out --more_train_dirs"),
        (("--spliced", "5", "--dataset_type", "large"), "--dataset_type small only"),
        (("--backend", "launcher", "--launcher", "run.sh"), "--backend launcher does not train"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(flags: tuple[str, ...], said: str, calls) -> None:
    assert said in calls(*flags)
    assert "funrecipe" not in calls(*flags).partition("finetune.sh")[0]


def test_spliced_utterances_of_an_earlier_run_are_not_taken_for_others(calls, stand_in: Path) -> None:
    (stand_in / "earlier" / "spliced").mkdir(parents=True)
    (stand_in / "earlier" / "spliced" / "text").write_text("a x\nb y\n")
    assert "has 2 utterances of an earlier run" in calls("--output_dir", "earlier", "--spliced", "3")
    assert "--more_train_dirs=earlier/spliced" in calls("--output_dir", "earlier", "--spliced", "2")
    assert "funrecipe average" in calls("--output_dir", "earlier", "--spliced", "3", "--stage", "3")


def test_a_killed_trainer_is_said_and_nothing_is_decoded(stand_in: Path) -> None:
    noted = stand_in / "killed_calls"
    environment = {**os.environ, "PYTHON": str(stand_in / "python"), "CALLS": str(noted), "KILLED": "yes"}
    result = subprocess.run(["bash", str(RECIPE)], cwd=stand_in, env=environment, capture_output=True, text=True)
    assert result.returncode == 137
    assert "the training process was killed (signal 9)" in result.stderr
    assert "rerun to resume from the last checkpoint" in result.stderr
    assert " launch " not in noted.read_text()


@pytest.mark.parametrize("name", ["eval_dir", "guard_dir"])
def test_what_will_be_compared_on_is_looked_at_before_training(name: str, stand_in: Path) -> None:
    environment = {**os.environ, "PYTHON": str(stand_in / "python"), "CALLS": os.devnull}
    command = ["bash", str(RECIPE), f"--{name}", "nowhere"]
    result = subprocess.run(command, cwd=stand_in, env=environment, capture_output=True, text=True)
    assert result.returncode == 3
    assert "no text in nowhere: stages 4 and 5 need one" in result.stderr
    assert "Stage 2" not in result.stdout


def test_with_a_longer_vocabulary_the_tuned_model_is_the_output_folder(calls) -> None:
    for text, wanted in (("true", True), ("True", True), ("yes", True), ("false", False)):
        decodings = [line for line in calls("--extend_vocab", text).splitlines() if "/results/eval.tuned" in line]
        assert decodings
        assert any("--model=./checkpoint" in line for line in decodings) == wanted


def test_machines_other_than_the_first_only_train(calls) -> None:
    commands = calls(*TWO_MACHINES, "--node_rank", "1").splitlines()
    assert len(commands) == 1
    assert "funrecipe.train.launcher --nnodes 2 --node-rank 1" in commands[0]
    assert "funrecipe average" in calls(*TWO_MACHINES)
