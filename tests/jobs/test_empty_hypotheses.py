"""What merging says about a run whose hypotheses are empty, and planning about one without texts."""

from pathlib import Path

import pytest

from funrecipe.cli import main
from funrecipe.jobs.model_record import ModelRecord
from funrecipe.jobs.plan import Plan, write_header
from funrecipe.jobs.results import ShardWriter
from funrecipe.jobs.shards import ShardEntry
from funrecipe.jobs.split import Draft
from funrecipe.score.scoring import warning_of_empty


@pytest.mark.parametrize("empty, warns", [(0, False), (2, False), (3, True), (20, True)])
def test_more_than_a_tenth_of_empty_hypotheses_is_said(empty: int, warns: bool) -> None:
    said = warning_of_empty(empty, 20)
    assert (said is not None) == warns
    if warns:
        assert said.startswith(f"WARNING: {empty} of 20 hypotheses are empty ({5 * empty} %)")


@pytest.mark.parametrize(("task", "warns"), [("recognition", True), ("vad", True), ("punctuation", False)])
def test_an_empty_text_that_is_punctuated_is_no_reason_to_warn(task: str, warns: bool, tmp_path: Path, capsys) -> None:
    with Draft(tmp_path) as draft:
        draft.fill([ShardEntry("u", "/u.wav")])
        jobs = draft.split(1)
        draft.publish(tmp_path / "split")
    plan = Plan(tmp_path, "", ModelRecord("", "model.pb", {"weights": "0"}), {}, jobs, batch_size=1, task=task)
    write_header(plan)
    with ShardWriter(plan.shard_folder(1), plan.stamps(1)) as writer:
        writer.write("u", tokens=[], text="", score=0.0, audio_s=1.0, decode_s=0.1)
    assert main(["merge", "--plan", str(tmp_path)]) == 0
    assert ("1 of 1 hypotheses are empty" in capsys.readouterr().out) == warns


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_a_list_without_texts_is_refused_before_anything_starts(content: str, tmp_path: Path, capsys) -> None:
    texts = tmp_path / "punc.txt"
    texts.write_text(content, "utf-8")
    plan = ["plan", "--task", "punctuation", "--model", str(tmp_path), "--output_dir", str(tmp_path / "out")]
    assert main([*plan, "--texts", str(texts)]) == 3
    said = capsys.readouterr().err
    assert "no texts" in said and str(texts) in said
    assert not (tmp_path / "out").exists()
