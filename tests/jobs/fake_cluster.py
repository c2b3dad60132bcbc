"""Commands that behave as Slurm's, for tests."""

from __future__ import annotations

import json
import sys
from pathlib import Path

FAKE = Path(__file__).with_name("fake_slurm.py")


class FakeCluster:
    """``fake_slurm.py`` under the names of all commands, its scenario and its log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        for name in ("sbatch", "squeue", "scancel", "scontrol", "sacct"):
            (folder / "bin" / name).symlink_to(FAKE)
        (folder / "bin/python3").symlink_to(sys.executable)  # another, such as a wrapper, may take longer to start
        self.says()

    def says(self, **scenario: object) -> None:
        (self.folder / "scenario.json").write_text(json.dumps(scenario))

    def calls(self, name: str) -> list[list[str]]:
        log = self.folder / "calls.jsonl"
        calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [call[1:] for call in calls if call[0] == name]
