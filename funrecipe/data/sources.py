"""Other formats, read as utterances: folders of audio, FunASR's jsonl, tables with named columns, lhotse cuts."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from funrecipe.errors import DataError, UsageError, unknown_name

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".pcm")
TEXT_SUFFIXES = (".txt", ".lab", ".trn")
# Names of columns by what they hold, the first one in the table is used (Common Voice: path, sentence, client_id).
COLUMNS = {
    "audio": ("path", "audio", "audio_path", "audio_filepath", "wav", "file", "filename", "file_name"),
    "text": ("sentence", "text", "transcript", "transcription", "target"),
    "id": ("id", "utt_id", "utt", "key"),
    "speaker": ("client_id", "speaker", "speaker_id", "spk"),
}
# FunASR's jsonl: the labels of SenseVoice.
LABELS = {"text_language": "language", "emo_target": "emotion", "event_target": "event"}
_TRN_ID = re.compile(r"\s*\([^()\s]+\)\s*$")


@dataclass(frozen=True)
class Item:
    """One utterance of a source, or why it is left out.

    Attributes:
        where: file and line, or the file.
        id: as the source has it. audio: as the source has it.
        text: None if the source has none.
        start_s, end_s: the part of the audio; None: all of it.
        labels: language, emotion, event, where they are stated.
        fault: why it is left out, or None.
    """

    where: str
    id: str = ""
    audio: str = ""
    text: str | None = None
    speaker: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    fault: str | None = None


def read_source(source: Path, columns: Mapping[str, str], transcript: Path | None = None) -> Iterator[Item]:
    """The utterances of a source, by its kind: a folder, ``.jsonl`` (FunASR or lhotse), ``.csv``, ``.tsv``.

    Args:
        columns: what a column holds -> its name, over :data:`COLUMNS`.
        transcript: for a folder, a list ``NAME TEXT`` in place of files beside the audio.

    Raises:
        DataError: the source does not exist or is of an unknown kind. UsageError: the table has no such column, or an
            option that this kind of source does not use.
    """
    is_folder, suffixes = source.is_dir(), [suffix.lower() for suffix in source.suffixes]
    if not is_folder and not source.is_file():
        raise DataError("no such source", where=str(source), hint="give a folder, a .jsonl, a .csv or a .tsv")
    is_table = not is_folder and suffixes[-1:] in ([".csv"], [".tsv"])
    if columns and not is_table:
        name = f"--{next(iter(columns))}_column"
        raise UsageError(f"{name} has no effect: this is not a table", where=str(source), hint="leave it out")
    if transcript is not None and not is_folder:
        raise UsageError("--transcript has no effect: this is not a folder", where=str(source), hint="leave it out")
    if is_folder:
        return read_folder(source, transcript)
    if ".jsonl" in suffixes[-2:]:
        return _to_its_end(read_jsonl(source), source)
    if is_table:
        return _to_its_end(read_table(source, columns), source)
    raise DataError(
        f"'{source.name}' is of an unknown kind",
        where=str(source),
        hint="give a folder of audio, a .jsonl (FunASR, lhotse cuts, also .gz), a .csv or a .tsv",
    )


def _to_its_end(items: Iterator[Item], source: Path) -> Iterator[Item]:
    try:
        yield from items
    except (UnicodeDecodeError, csv.Error, EOFError, zlib.error) as error:
        hint = "write it again, as UTF-8"
        raise DataError(f"it cannot be read to its end: {error}", where=str(source), hint=hint) from None


def read_folder(folder: Path, transcript: Path | None) -> Iterator[Item]:
    """Audio files anywhere below ``folder``; the text is in a file of the same name, or in ``transcript``."""
    texts = _read_transcript(transcript) if transcript else None
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in AUDIO_SUFFIXES or not path.is_file():
            continue
        try:
            text = texts.pop(path.stem, None) if texts is not None else _text_beside(path)
        except DataError as error:
            yield Item(error.where or str(path), path.stem, str(path), fault=error.what)
            continue
        yield Item(str(path), path.stem, os.path.abspath(path), text)
    for name in texts or ():
        yield Item(str(transcript), name, fault=f"no such audio file '{name}'")


def _text_beside(audio: Path) -> str | None:
    path = next((audio.with_suffix(s) for s in TEXT_SUFFIXES if audio.with_suffix(s).is_file()), None)
    if path is None:
        return None
    lines = [line.strip() for line in _read(path).split("\n") if line.strip()]
    if path.suffix == ".lab" and lines and all(re.fullmatch(r"\d+\s+\d+\s+\S+", line) for line in lines):
        return " ".join(line.split()[2] for line in lines)  # HTK: begin, end, word
    if path.suffix == ".txt":
        return " ".join(lines)
    return _TRN_ID.sub("", lines[0]) if lines else ""  # further lines of a .trn hold pronunciations


def _read_transcript(path: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, line in enumerate(_read(path).split("\n"), 1):
        name, _, text = " ".join(line.split()).partition(" ")
        if texts.get(name, text) != text:
            hint = "keep one of its lines"
            raise DataError(f"'{name}' has another text in an earlier line", where=f"{path}:{number}", hint=hint)
        if name:
            texts[name] = text
    return texts


def read_jsonl(path: Path) -> Iterator[Item]:
    """FunASR's lines (``key``, ``source``, ``target``) or lhotse's cuts, by what a line has."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{path}:{number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Item(where, fault=f"not valid JSON: {error}")
                continue
            if not isinstance(row, dict):
                yield Item(where, fault="not a JSON object")
            elif "source" in row:
                yield _from_funasr(where, row)
            else:
                yield _from_cut(where, row)


def _from_funasr(where: str, row: Mapping[str, Any]) -> Item:
    audio, text = row["source"], row.get("target")
    labels = {name: str(row[key]).strip("<|>") for key, name in LABELS.items() if row.get(key)}
    if not isinstance(audio, str) or not isinstance(text, (str, type(None))):
        return Item(where, str(row.get("key", "")), fault="source and target are not strings")
    return Item(where, str(row.get("key") or Path(audio).stem), audio, text, labels=labels)


def _from_cut(where: str, row: Mapping[str, Any]) -> Item:
    """A cut of one recording in one file, with at most one supervision."""
    name = str(row.get("id", ""))
    recording, said = row.get("recording"), row.get("supervisions") or []
    if not isinstance(recording, dict):
        return Item(where, name, fault="neither a line of FunASR (no source) nor a cut of one recording (no recording)")
    sources = recording.get("sources") or []
    parts = [*sources, *said] if isinstance(sources, list) and isinstance(said, list) else [None]
    if not all(isinstance(part, dict) and isinstance(part.get("text"), (str, type(None))) for part in parts):
        return Item(where, name, fault="sources and supervisions are not as lhotse writes them")
    sources = [source for source in sources if source.get("type") == "file"]
    if len(sources) != 1:
        return Item(where, name, fault="the recording is not one file")
    if len(said) > 1:
        return Item(where, name, fault=f"{len(said)} supervisions; split it into one cut each first")
    try:
        start_s, length_s = float(row.get("start", 0.0)), float(row["duration"])
        whole = start_s == 0.0 and abs(length_s - float(recording.get("duration", -1.0))) < 0.001
    except (KeyError, TypeError, ValueError):
        return Item(where, name, fault="start and duration are not numbers")
    supervision = said[0] if said else {}
    return Item(
        where, name, str(sources[0].get("source")), supervision.get("text"), supervision.get("speaker"),
        None if whole else start_s, None if whole else start_s + length_s,
    )  # fmt: skip


def read_table(path: Path, columns: Mapping[str, str]) -> Iterator[Item]:
    """Rows of a CSV or TSV whose first line names the columns."""
    is_csv = path.suffix.lower() == ".csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        # Common Voice's TSV does not quote: a quotation mark there belongs to the sentence.
        rows = csv.DictReader(file, delimiter="," if is_csv else "\t", quoting=csv.QUOTE_MINIMAL if is_csv else 3)
        header = [name for name in rows.fieldnames or () if name]
        found = {kind: _column(kind, columns.get(kind), header, path) for kind in COLUMNS}
        for row in rows:
            where = f"{path}:{rows.line_num}"
            if row.get(None) or None in row.values():
                yield Item(where, fault=f"the row does not have as many fields as the header ({len(header)})")
                continue
            values = {kind: row[name].strip() if name else None for kind, name in found.items()}
            audio = values["audio"] or ""
            yield Item(where, values["id"] or Path(audio).stem, audio, values["text"], values["speaker"] or None)


def _column(kind: str, named: str | None, header: list[str], path: Path) -> str | None:
    """The name of the column of a kind; None if the table has none and does not need one."""
    if named is not None and named not in header:
        raise unknown_name("the table has no column", named, header, where=f"{path}:1")
    found = named or next((name for name in COLUMNS[kind] if name in header), None)
    if found is None and kind == "audio":
        hint = f"name it with --audio_column; columns: {', '.join(header)}"
        raise UsageError("cannot tell which column holds the audio files", where=f"{path}:1", hint=hint)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"cannot read the text: {reason}", where=str(path), hint="give a text file in UTF-8") from None
