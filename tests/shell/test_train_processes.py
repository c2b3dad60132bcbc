"""What recipes that train refuse about machines and processes before they do anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(tmp_path: Path, recipe: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    place = ["--data_dir", str(tmp_path / "none"), "--output_dir" if "asr" in recipe else "--exp_dir", str(tmp_path)]
    return subprocess.run(
        ["bash", str(ROOT / recipe), *place, *options], capture_output=True, text=True, timeout=300, check=False,
        env={**kept, "PYTHON": sys.executable, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("recipe", ["egs/asr/finetune.sh", "egs/TEMPLATE/run.sh"])
@pytest.mark.parametrize(
    ("options", "job_nodes", "said"),
    [
        ("--num_nodes 2", "", "--num_nodes 2 needs --master HOST:PORT"),
        ("", "2", "this job of Slurm has 2 nodes: pass --num_nodes 2, or submit it with --nodes=1"),
        ("--num_nodes 3", "2", "this job of Slurm has 2 nodes"),
        ("--backend slurm --master n1:1", "", "leave out --node_rank and --master"),
        ("--backend slurm --num_nodes 2 --node_rank 1", "", "leave out --node_rank and --master"),
        ("--backend launcher --launcher run.pl", "", "--backend launcher does not train"),
        ("--backend slrum", "", "--backend slrum does not train"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(
    tmp_path: Path, recipe: str, options: str, job_nodes: str, said: str
) -> None:
    environment = {"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": job_nodes} if job_nodes else {}
    result = run(tmp_path, recipe, *options.split(), **environment)
    assert result.returncode == 2 and said in result.stderr, result.stderr


def test_a_step_on_each_node_of_a_job_may_start_the_recipe(tmp_path: Path) -> None:
    """As srun does it: the recipe is told its rank, and goes on to look for the data."""
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "2", "SLURM_STEP_ID": "0"}
    result = run(tmp_path, "egs/asr/finetune.sh", "--num_nodes", "2", "--node_rank", "0", "--master", "n1:20001", **job)
    assert result.returncode == 3 and "none" in result.stderr, result.stderr
