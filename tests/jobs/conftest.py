"""Fixtures of the tests of runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_cluster import FakeCluster

from funrecipe.jobs import slurm


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    cluster = FakeCluster(tmp_path / "fake")
    monkeypatch.setenv("PATH", f"{cluster.folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(cluster.folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # the recipe itself may be a job
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    for name in ("FIRST_ASK_S", "LAST_ASK_S", "RETRY_SUBMIT_S"):
        monkeypatch.setattr(slurm, name, 0.01)
    return cluster
