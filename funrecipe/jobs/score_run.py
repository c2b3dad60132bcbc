"""Score texts, or the results of a run in place: what ``funrecipe score`` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from funrecipe.decode.hotwords import read_hotwords
from funrecipe.jobs.results import forget_reports
from funrecipe.jobs.run_record import check_results, read_run_record
from funrecipe.score import stage2, stage3
from funrecipe.score.options import ScoreOptions
from funrecipe.score.result_folder import state_of_scores, take_texts
from funrecipe.score.side_information import SideStream


def score_run(options: ScoreOptions) -> Iterator[str]:
    """Write the files that ``options`` name, give human-readable lines.

    Raises:
        DataError: texts that cannot be read or scored, or results that are not of the plan.
        IncompleteRunError: a hypothesis is missing and ``missing`` is ``error``.
    """
    record = read_run_record(options.plan, options.digest)
    options = replace(options, meta={**record.summary, **options.meta})

    score: Callable[[ScoreOptions], Iterable[str]]
    if options.protocol == "speechio":
        score = stage3.score_speechio
    elif options.detail == "totals":
        score = stage2.total_lines
    else:
        side = SideStream(
            options.data_dir or record.data_dir,
            utt2spk=options.utt2spk,
            utt2set=options.utt2set,
            utt2dur=options.utt2dur,
            durations_s=record.durations_s,
            hotwords=read_hotwords(options.hotwords),
        )
        score = partial(stage2.score_strict, side=side)
    if not options.results:
        yield from score(options)
        return
    recog = Path(options.results)
    if options.digest:
        check_results(recog, options.digest)
    ref, hyp = take_texts(recog, Path(str(options.data_dir), "text"), is_partial=options.partial_text == "true")
    before = state_of_scores(recog)
    files: dict[str, Any] = {"ref": str(ref), "hyp": str(hyp)}
    files |= {"out_dir": str(recog)} if options.protocol == "speechio" else {"out": str(recog / "text.cer")}
    try:
        yield from score(replace(options, results=None, **files))
    finally:
        if state_of_scores(recog) != before:
            forget_reports(recog.parent)
