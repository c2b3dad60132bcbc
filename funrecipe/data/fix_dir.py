"""Write a clean copy of a data directory: all usable lines, sorted, in plain UTF-8, and a list of what was left out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from funrecipe.data.kaldi_dir import DataDir, Utterance
from funrecipe.errors import DataError, UsageError
from funrecipe.files import write_text, writing

LISTS = ("wav.scp", "segments", "text", "utt2spk", "utt2dur")


def write_fixed_dir(data: DataDir, out_dir: Path) -> tuple[Utterance, ...]:
    """Write ``wav.scp`` and, where the original has them, ``segments text utt2spk utt2dur``.

    With a ``text``, only utterances in both lists are kept, as Kaldi's fix_data_dir.sh does.
    ``problems.txt`` lists every problem of the original, so nothing is dropped silently.

    Returns:
        The utterances that were kept.

    Raises:
        UsageError: ``out_dir`` is the data directory itself, or has lists that were not written by --fix.
        DataError: nothing is left to write. WriteError: ``out_dir`` cannot be written.
    """
    if out_dir.resolve() == data.path.resolve():
        raise UsageError("--fix must name a folder other than --data_dir", where=str(out_dir))
    kept = tuple(u for u in data.utterances if data.texts is None or u.utt_id in data.texts)
    if not kept:
        raise DataError("no utterance is left to write", where=str(data.path))
    recordings = {u.recording_id: u.audio for u in kept}
    lists: dict[str, Iterable[tuple[str, str]]] = {"wav.scp": recordings.items()}
    if any(u.recording_id != u.utt_id or u.start_s is not None for u in kept):
        lists["segments"] = [(u.utt_id, f"{u.recording_id} {u.start_s!r} {_end(u)}") for u in kept]
    if data.texts is not None:
        lists["text"] = [(u.utt_id, data.texts[u.utt_id]) for u in kept]
    if data.speakers:
        lists["utt2spk"] = [(u.utt_id, data.speakers[u.utt_id]) for u in kept if u.utt_id in data.speakers]
    if data.durations_s:
        lists["utt2dur"] = [(u.utt_id, repr(data.durations_s[u.utt_id])) for u in kept if u.utt_id in data.durations_s]
    there = [name for name in LISTS if (out_dir / name).exists()]
    if there and not (out_dir / "problems.txt").exists():
        raise UsageError(
            f"{out_dir} already contains {', '.join(there)}, not written by --fix",
            where="--fix",
            hint="name a new folder",
        )
    with writing(out_dir):
        for name in set(there) - lists.keys():  # of an earlier fix
            (out_dir / name).unlink()
    for name, rows in lists.items():
        write_text(out_dir / name, (f"{key} {value}\n" for key, value in sorted(rows)))
    write_text(out_dir / "problems.txt", (f"{problem}\n" for problem in data.problems))
    return kept


def _end(utterance: Utterance) -> str:
    return "-1" if utterance.end_s is None else repr(utterance.end_s)
