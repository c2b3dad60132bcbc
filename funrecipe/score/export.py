"""The scored texts for other tools: NIST's ``trn`` for sclite, JSON lines for anything else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from funrecipe.files import write_text
from funrecipe.score.scoring import Edits, Scoring


def write_trn(folder: Path | str, scoring: Scoring, speaker_of: Mapping[str, str]) -> None:
    """``ref.trn`` and ``hyp.trn`` in ``folder``: ``tokens (speaker-id)``, for ``sclite -i rm``.

    sclite takes what precedes the first ``-`` as the speaker, so
    speakers are written without ``-``; an utterance without one is its own.
    """
    names = [
        f"{speaker_of[i].replace('-', '_')}-{i}" if i in speaker_of else f"{i.replace('-', '_')}-{i}"
        for i in scoring.ids
    ]
    for side, texts in (("ref", scoring.refs), ("hyp", scoring.hyps)):
        write_text(
            Path(folder) / f"{side}.trn", (f"{' '.join(tokens)} ({name})\n" for tokens, name in zip(texts, names))
        )


def write_json_lines(path: Path | str, scoring: Scoring) -> None:
    """One object per utterance: id, tokens of both sides, counts and the alignment as letters ``C S D I``."""
    write_text(path, _json_lines(scoring))


def _json_lines(scoring: Scoring) -> Iterator[str]:
    for utterance_id, ref, hyp, counts, ops in zip(
        scoring.ids, scoring.refs, scoring.hyps, scoring.counts.tolist(), scoring.ops
    ):
        item = {
            "id": utterance_id,
            "ref": list(ref),
            "hyp": list(hyp),
            "ops": ops.decode(),
            **Edits(*counts).as_json(),
        }
        yield json.dumps(item, ensure_ascii=False) + "\n"
