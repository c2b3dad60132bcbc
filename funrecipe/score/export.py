"""The scored texts for other tools: NIST's ``trn`` for sclite, JSON lines for anything else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from funrecipe.score.scoring import Edits, Scoring


def trn_lines(scoring: Scoring, speaker_of: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Lines of ``ref.trn`` and ``hyp.trn``: ``tokens (speaker-id)``, for ``sclite -i rm``.

    sclite takes what precedes the first ``-`` as the speaker, so
    speakers are written without ``-``; an utterance without one is its own.
    """
    names = [f"{speaker_of.get(i, i).replace('-', '_')}-{i}" for i in scoring.ids]
    refs, hyps = (
        [f"{' '.join(tokens)} ({name})\n" for tokens, name in zip(texts, names)]
        for texts in (scoring.refs, scoring.hyps)
    )
    return refs, hyps


def json_lines(scoring: Scoring) -> Iterator[str]:
    """One object per utterance: id, tokens of both sides, counts and the alignment as letters ``C S D I``."""
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
