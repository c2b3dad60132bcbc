"""``--precision auto``: bf16 if it changes few of the run's own tokens, decided once."""

from __future__ import annotations

import json
import weakref
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_plan import plan_jobs, write_plan

from funrecipe.decode import tiled_model
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.errors import DataError, UsageError
from funrecipe.jobs.model_record import ModelRecord
from funrecipe.jobs.plan import Plan
from funrecipe.jobs.precision import Decision, changed_tokens, decide, decision_of, settle_precision
from funrecipe.jobs.run_record import read_run_record
from funrecipe.jobs.shards import ShardEntry
from funrecipe.model_folder import open_model_folder
from funrecipe.models import packed, reduced

TINY = Path(__file__).resolve().parents[1] / "data/parity/paraformer"
RATE_HZ = 16000


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Three readable utterances, one that is damaged and one that is too long to be compared."""
    entries = []
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(RATE_HZ // 4), RATE_HZ)
        entries.append(ShardEntry(name, str(tmp_path / f"{name}.wav"), duration_s=0.25))
    (tmp_path / "d.wav").write_bytes(b"no audio")
    entries += [ShardEntry("d", str(tmp_path / "d.wav"), duration_s=0.25), ShardEntry("e", "/none", duration_s=31.0)]
    model = ModelRecord(str(TINY), str(TINY / "model.pb"), {"weights": "abc"})
    shards = [entries[:1], entries[1:]]
    result = Plan(tmp_path / "out", str(tmp_path), model, {"precision": "auto"}, plan_jobs(shards), batch_size=8)
    result.output_dir.mkdir()
    write_plan(result, shards)
    return result


@dataclass
class Said:
    tokens: list[str]


class Speaker:
    """Says 100 tokens for each utterance, the last few of them wrong."""

    sample_rate_hz = RATE_HZ

    def __init__(self, wrong: int) -> None:
        self.wrong = wrong

    def transcribe(self, waveforms):
        assert [len(wave) for wave in waveforms] == [RATE_HZ // 4] * 3
        return [Said(["a"] * (100 - self.wrong) + ["x"] * self.wrong) for _ in waveforms]


def loading(wrong: int):
    return lambda precision: Speaker(0 if precision == "fp32" else wrong)


@pytest.mark.parametrize(
    ("wrong", "precision", "said"),
    [
        (1, "bf16", "bf16, which changes 3 of 300 tokens (1.00 %) of the first 3 utterances"),
        (2, "fp32", "fp32, since bf16 changes 6 of 300 tokens (2.00 %) of the first 3 utterances, more than 1 %"),
    ],
)
def test_few_changed_tokens_are_accepted(plan: Plan, wrong: int, precision: str, said: str) -> None:
    decision = decide(plan, None, loading(wrong))
    assert decision.precision == precision
    assert str(decision) == f"precision auto: {said}"
    assert read_run_record(plan.output_dir).summary["precision"] == said


def test_one_model_at_a_time_is_in_memory(plan: Plan) -> None:
    alive = weakref.WeakSet[Speaker]()

    def load(precision: str) -> Speaker:
        assert not alive
        speaker = Speaker(0)
        speaker.itself = speaker  # as a network whose methods are replaced
        alive.add(speaker)
        return speaker

    assert decide(plan, None, load).precision == "bf16"


def test_a_run_decides_once(plan: Plan) -> None:
    assert decide(plan, None, loading(0)).precision == "bf16"
    assert decide(plan, "since this CPU is slow", loading(50)).precision == "bf16"  # a resumed run, or another worker
    others = replace(plan, options={"precision": "auto", "beam_size": 3})
    assert decision_of(others) is None
    assert decide(others, "since this CPU is slow", loading(0)) == Decision("fp32", "since this CPU is slow")
    assert not list(plan.output_dir.glob(".*"))


def test_the_first_of_two_workers_decides(plan: Plan) -> None:
    def load(precision: str) -> Speaker:
        if precision == "bf16":  # meanwhile the other one is done
            decide(plan, "since it was first", loading(0))
        return Speaker(0)

    assert decide(plan, None, load) == Decision("fp32", "since it was first")


def test_a_damaged_decision_is_an_error(plan: Plan) -> None:
    decide(plan, None, loading(0))
    (path,) = plan.output_dir.glob("precision.*.json")
    path.write_text("{")
    with pytest.raises(DataError, match="cannot read the decision"):
        decide(plan, None, loading(0))


def test_silence_decides_nothing(plan: Plan) -> None:
    class Silent(Speaker):
        def transcribe(self, waveforms):
            return [Said([]) for _ in waveforms]

    assert decide(plan, None, lambda precision: Silent(0)).precision == "fp32"


def test_changes_are_edits() -> None:
    assert changed_tokens([["a", "b"], ["c"]], [["a"], ["d", "c"]]) == 2
    assert changed_tokens([["▁ab"] * 3], [["▁ab"] * 3]) == 0


def test_a_worker_takes_what_was_decided(plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    folder, options = open_model_folder(TINY), DecodeOptions(precision="auto")
    monkeypatch.setattr(reduced, "seconds_of_product", lambda dtype: 1.0)
    assert settle_precision(plan, folder, DecodeOptions(precision="int8"), "cpu").precision == "int8"
    assert settle_precision(plan, folder, options, "cpu").precision == "fp32"
    assert "precision auto: fp32, since this CPU does not multiply bf16 faster" in capsys.readouterr().out
    with pytest.raises(UsageError, match="needs the utterances of a run"):
        load_recognizer(folder, options=options)


@pytest.mark.cpu
def test_the_model_itself_is_compared(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    if "bf16" not in packed.cpu_precisions():
        pytest.skip("this CPU does not multiply in bf16")
    monkeypatch.setattr(tiled_model, "bf16_is_faster", lambda device: True)
    settled = settle_precision(plan, open_model_folder(TINY), DecodeOptions(precision="auto"), "cpu")
    (path,) = plan.output_dir.glob("precision.*.json")
    assert json.loads(path.read_text())["precision"] == settled.precision
