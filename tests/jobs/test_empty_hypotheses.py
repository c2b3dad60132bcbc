"""What merging says about a run whose hypotheses are empty."""

import pytest

from funrecipe.score.scoring import warning_of_empty


@pytest.mark.parametrize("empty, warns", [(0, False), (2, False), (3, True), (20, True)])
def test_more_than_a_tenth_of_empty_hypotheses_is_said(empty: int, warns: bool) -> None:
    said = warning_of_empty(empty, 20)
    assert (said is not None) == warns
    if warns:
        assert said.startswith(f"WARNING: {empty} of 20 hypotheses are empty ({5 * empty} %)")
