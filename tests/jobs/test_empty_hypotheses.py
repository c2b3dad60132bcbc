"""What merging says about a run whose hypotheses are empty."""

from pathlib import Path

import pytest

from funrecipe.commands.merge import warn_of_empty


@pytest.mark.parametrize("empty, warns", [(0, False), (2, False), (3, True), (20, True)])
def test_more_than_a_tenth_of_empty_hypotheses_is_said(tmp_path: Path, empty: int, warns: bool) -> None:
    lines = (f"utt{number:02d} {'' if number < empty else '好 的'}\n" for number in range(20))
    (tmp_path / "text").write_text("".join(lines), "utf-8")
    said = warn_of_empty(tmp_path / "text", 20)
    assert (said is not None) == warns
    if warns:
        assert said.startswith(f"WARNING: {empty} of 20 hypotheses are empty ({5 * empty} %)")
