"""Scores and decisions of speaker verification."""

import json

import numpy as np
import pytest

from funrecipe.model_folder import open_model_folder
from funrecipe.speaker.verification import cosine_similarity, threshold_of, verify

FOLDERS = {"campplus": 0.31, "eres2netv2": 0.36, "xvector": 0.9465}


def test_the_score_is_the_cosine_and_the_decision_compares_it_with_the_threshold():
    found = verify(np.array([3.0, 0.0]), np.array([3.0, 4.0]), 0.6)
    assert found.score == pytest.approx(0.6) and found.same_speaker
    assert not verify(np.array([3.0, 0.0]), np.array([3.0, 4.0]), 0.61).same_speaker


def test_the_percentage_of_the_first_releases_starts_at_the_threshold():
    assert verify(np.array([1.0, 0.0]), np.array([1.0, 0.0]), 0.9465).percent == pytest.approx(100.0)
    assert verify(np.array([1.0, 0.0]), np.array([0.8, 0.6]), 0.9465).percent == 0.0
    assert verify(np.array([1.0, 0.0]), np.array([0.8, 0.6]), 0.6).percent == pytest.approx(50.0)


def test_a_silent_embedding_is_similar_to_nothing():
    assert cosine_similarity(np.zeros(3), np.ones(3)) == 0.0


@pytest.mark.parametrize("name", FOLDERS)
def test_the_threshold_is_the_one_of_the_folder_else_of_the_released_model(name, tmp_path):
    import shutil
    from pathlib import Path

    shutil.copytree(Path(__file__).parents[1] / "data" / "parity" / name, tmp_path / "model")
    assert threshold_of(open_model_folder(tmp_path / "model")) == FOLDERS[name]
    path = tmp_path / "model" / "configuration.json"
    content = json.loads(path.read_text())
    content["model"]["yesOrno_thr"] = 0.5
    path.write_text(json.dumps(content))
    assert threshold_of(open_model_folder(tmp_path / "model")) == 0.5
