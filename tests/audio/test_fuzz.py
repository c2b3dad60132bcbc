"""A small slice of tools/fuzz/audio.py: damaged files are read or refused, the same from a file and from bytes."""

from __future__ import annotations

import random

from tools.fuzz.audio import run, sources


def test_damaged_audio_is_read_or_refused(tmp_path):
    counts, problems = run(150, 20261122, tmp_path)
    assert problems == []
    assert counts["read"] > 30 and counts["refused"] > 60  # both ends are tried
    assert len(sources(random.Random(0))) > 50
