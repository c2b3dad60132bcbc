"""Report on the scored results of a run: what ``funrecipe report`` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from funrecipe.data.kaldi_dir import read_data_dir
from funrecipe.decode.hotwords import read_hotwords
from funrecipe.errors import DataError
from funrecipe.files import write_text
from funrecipe.jobs.run_record import read_run_record
from funrecipe.jobs.shards import ShardEntry
from funrecipe.score.report import Audio, RunFacts, render_html, render_markdown
from funrecipe.score.result_folder import ResultFolder
from funrecipe.score.scoring import normalize_both, score_texts
from funrecipe.score.side_information import SideStream
from funrecipe.score.summary import analysis_json, summary_json


def report_run(
    result_dir: Path,
    *,
    out_dir: Path | None = None,
    data_dir: Path | None = None,
    hotwords: str | None = None,
    audio: str = "link",
    digest: str | None = None,
    title: str | None = None,
) -> tuple[Path, Path]:
    """Write ``report.html`` and ``RESULTS.md``; their paths.

    Args:
        result_dir: ``output_dir`` or ``1best_recog`` of a scored run.
        out_dir: where to write, if not to ``output_dir``.
        data_dir: has ``utt2spk``, ``utt2set``, ``utt2dur``, if that of the run has not.
        hotwords: a file or the words themselves, for their recall and precision.
        audio: ``link``, ``embed`` or ``none``.
        digest: of the plan whose results these must be.

    Raises:
        DataError: a folder without a score, of another plan, or with damaged files; a score that is not of its texts.
    """
    if data_dir and not data_dir.is_dir():
        raise DataError(f"no data directory '{data_dir}'", where="--data_dir", hint="name that of the run")
    folder = ResultFolder.open(result_dir)
    record = read_run_record(folder.output_dir, digest)
    written = folder.summary()
    protocol = written.get("protocol", {})
    profile_name = str(protocol.get("normalization") or "").split(" ")[0] or None
    *texts, normalization = normalize_both(*folder.texts(), profile_name)
    scoring = score_texts(
        *texts,
        unit=protocol.get("tokens", "mixed"),
        missing_policy=protocol.get("missing", "strict"),
        normalization=normalization,
    )
    folder.check_edits(written, scoring.edits)
    data_dir = data_dir or record.data_dir
    side = SideStream(data_dir, durations_s=record.durations_s, hotwords=read_hotwords(hotwords)).of(scoring.ids)
    summary = summary_json(scoring, written.get("meta", record.summary))
    summary["analysis"] = analysis_json(scoring, side)
    facts = RunFacts(
        title=title or folder.output_dir.resolve().name,
        audio=_audio(record.entries(), data_dir),
        durations_s=side.durations_s or {},
        speaker_of=side.speaker_of or {},
        workers=record.workers(),
        speechio=folder.speechio(),
    )
    out_dir = out_dir or folder.output_dir
    page, markdown = out_dir / "report.html", out_dir / "RESULTS.md"
    write_text(page, render_html(scoring, summary, facts, page_folder=out_dir.absolute(), audio_mode=audio))
    write_text(markdown, render_markdown(scoring, summary, facts))
    return page, markdown


def _audio(entries: Mapping[str, ShardEntry], data_dir: Path | None) -> dict[str, Audio]:
    """Audio of the utterances, by the plan of the run; without a plan, by the data directory."""
    if entries:
        return {key: Audio(entry.audio, entry.start_s, entry.end_s) for key, entry in entries.items()}
    if data_dir is None or not (data_dir / "wav.scp").exists():
        return {}
    utterances = read_data_dir(data_dir, allow_pipes=True).utterances
    return {u.utt_id: Audio(u.audio, u.start_s, u.end_s) for u in utterances}
