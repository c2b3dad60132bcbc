"""Transcripts as files: txt, json, subtitles (srt, vtt), Praat's TextGrid, NIST's ctm and rttm.

Times are in ms inside and are written as each format has them; whatever a recognizer said, they lie inside the
recording, do not run backwards, and no text can break the format that it is in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from funrecipe.errors import unknown_name
from funrecipe.files import write_text
from funrecipe.recordings.transcript import SENTENCE_ENDS, RecordingTranscript, Sentence, Word, written

MAX_CUE_MS = 7000
MAX_CUE_COLUMNS = 84  # two lines of 42; a Chinese character takes two columns
MIN_CUE_MS = 1
SPEECH = "speech"  # the speaker of RTTM lines where speakers were not looked for


@dataclass(frozen=True)
class Cue:
    """A subtitle."""

    start_ms: int
    end_ms: int
    text: str
    speaker: int | None


def as_txt(transcript: RecordingTranscript) -> str:
    """One line per sentence; without punctuation one per segment."""
    lines: list[list[Sentence]] = [[]]
    for sentence in transcript.sentences:
        if lines[-1] and lines[-1][-1].speaker != sentence.speaker:
            lines.append([])
        lines[-1].append(sentence)
        if not transcript.has_punctuation or sentence.words[-1].mark in SENTENCE_ENDS:
            lines.append([])
    return "".join(
        f"{_speaker_prefix(line[0].speaker)}{written([word for sentence in line for word in sentence.words])}\n"
        for line in lines
        if line
    )


def as_json(transcript: RecordingTranscript) -> str:
    """Everything that is known, times in seconds; no scores, whose last digits depend on what was decoded together."""
    sentences = []
    for sentence in transcript.sentences:
        entry: dict[str, Any] = {
            "start": sentence.start_ms / 1000,
            "end": sentence.end_ms / 1000,
            "text": sentence.text,
            "words": [[word.text, word.start_ms / 1000, word.end_ms / 1000] for word in sentence.words],
        }
        if sentence.speaker is not None:
            entry["speaker"] = sentence.speaker
        sentences.append(entry)
    segments = [
        {
            "start": segment.start_ms / 1000,
            "end": segment.end_ms / 1000,
            "text": " ".join(word.text for word in segment.words),
            **({"is_estimated": True} if segment.is_estimated else {}),
        }
        for segment in transcript.segments
    ]
    content = {
        "key": transcript.key,
        "duration": transcript.duration_ms / 1000,
        "text": transcript.text,
        "word_times": "recognized" if transcript.has_word_times else "spread",
        "sentences": sentences,
        "segments": segments,
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def as_srt(transcript: RecordingTranscript) -> str:
    """SubRip: numbered cues, ``HH:MM:SS,mmm``."""
    return "".join(
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n"
        f"{_speaker_prefix(cue.speaker)}{_cue_text(cue.text)}\n\n"
        for number, cue in enumerate(cues(transcript), 1)
    )


def as_vtt(transcript: RecordingTranscript) -> str:
    """WebVTT: ``HH:MM:SS.mmm``, speakers as voices."""
    parts = ["WEBVTT\n"]
    for cue in cues(transcript):
        voice = "" if cue.speaker is None else f"<v Speaker {cue.speaker + 1}>"
        escaped = _cue_text(cue.text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        parts.append(f"\n{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n{voice}{escaped}\n")
    return "".join(parts)


def as_textgrid(transcript: RecordingTranscript) -> str:
    """Praat's long text format: a tier of sentences and a tier of words, with empty intervals between."""
    end_ms = max([transcript.duration_ms, 1, *(word.end_ms for word in transcript.words)])
    sentences = [(s.start_ms, s.end_ms, _speaker_prefix(s.speaker) + s.text) for s in transcript.sentences]
    words = [(word.start_ms, word.end_ms, word.text) for word in transcript.words]
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {_seconds(end_ms)}"]
    lines += ["tiers? <exists>", "size = 2", "item []:"]
    for number, (name, spans) in enumerate((("sentences", sentences), ("words", words)), 1):
        intervals = list(_covering(spans, end_ms))
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += [
            "        xmin = 0",
            f"        xmax = {_seconds(end_ms)}",
            f"        intervals: size = {len(intervals)}",
        ]
        for i, (start_ms, stop_ms, text) in enumerate(intervals, 1):
            quoted = _one_line(text).replace('"', '""')
            lines += [f"        intervals [{i}]:", f"            xmin = {_seconds(start_ms)}"]
            lines += [f"            xmax = {_seconds(stop_ms)}", f'            text = "{quoted}"']
    return "\n".join(lines) + "\n"


def as_ctm(transcript: RecordingTranscript) -> str:
    """NIST's conversation time marks: ``recording channel start duration word``."""
    return "".join(
        f"{_field(transcript.key)} 1 {_seconds(word.start_ms)} {_seconds(word.end_ms - word.start_ms)} {word.text}\n"
        for word in transcript.words
    )


def as_rttm(transcript: RecordingTranscript) -> str:
    """NIST's rich transcription time marks: who speaks when; without speakers the segments of speech."""
    if any(sentence.speaker is not None for sentence in transcript.sentences):
        spans = [(s.start_ms, s.end_ms, f"speaker{(s.speaker or 0) + 1}") for s in transcript.sentences]
    else:
        spans = [(segment.start_ms, segment.end_ms, SPEECH) for segment in transcript.segments]
    return "".join(
        f"SPEAKER {_field(transcript.key)} 1 {_seconds(start_ms)} {_seconds(end_ms - start_ms)} "
        f"<NA> <NA> {who} <NA> <NA>\n"
        for start_ms, end_ms, who in _joined_turns(spans)
        if end_ms > start_ms
    )


# Name -> (ending of the file, writer).
FORMATS: dict[str, tuple[str, Callable[[RecordingTranscript], str]]] = {
    "txt": (".txt", as_txt),
    "json": (".json", as_json),
    "srt": (".srt", as_srt),
    "vtt": (".vtt", as_vtt),
    "textgrid": (".TextGrid", as_textgrid),
    "ctm": (".ctm", as_ctm),
    "rttm": (".rttm", as_rttm),
}


def parse_formats(names: str) -> list[str]:
    """``txt,srt`` -> names of ``FORMATS``, each once.

    Raises:
        UsageError: a name that is not one.
    """
    found = list(dict.fromkeys(name.strip().lower() for name in names.split(",") if name.strip()))
    for name in found:
        if name not in FORMATS:
            raise unknown_name("unknown format", name, FORMATS, where="--formats")
    return found


def write_formats(transcript: RecordingTranscript, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Publish ``KEY.srt`` ... in ``folder``; the paths."""
    paths = []
    for name in formats:
        ending, writer = FORMATS[name]
        paths.append(folder / f"{transcript.key}{ending}")
        write_text(paths[-1], writer(transcript))
    return paths


def cues(transcript: RecordingTranscript) -> Iterator[Cue]:
    """Sentences as subtitles; long ones are cut between words, at the longest pause of what fits."""
    last_ms = 0
    for sentence in transcript.sentences:
        for words in _short(list(sentence.words)):
            start_ms = max(words[0].start_ms, last_ms)
            last_ms = max(words[-1].end_ms, start_ms + MIN_CUE_MS)
            yield Cue(start_ms, last_ms, written(words), sentence.speaker)


def _short(words: list[Word]) -> Iterator[list[Word]]:
    while words:
        fits = 1
        while fits < len(words) and _fits(words[: fits + 1]):
            fits += 1
        if fits < len(words):
            pauses = [words[i].start_ms - words[i - 1].end_ms for i in range(1, fits + 1)]
            second_half = range(fits // 2, fits)
            fits = max(second_half, key=lambda i: (pauses[i], i)) + 1
        yield words[:fits]
        words = words[fits:]


def _fits(words: Sequence[Word]) -> bool:
    columns = sum(1 if character.isascii() else 2 for character in written(words))
    return columns <= MAX_CUE_COLUMNS and words[-1].end_ms - words[0].start_ms <= MAX_CUE_MS


def _covering(spans: Sequence[tuple[int, int, str]], end_ms: int) -> Iterator[tuple[int, int, str]]:
    """``spans`` without overlaps and without empty ones, and what lies between them."""
    last_ms = 0
    for start_ms, stop_ms, text in spans:
        start_ms = max(start_ms, last_ms)
        if stop_ms <= start_ms:
            continue
        if start_ms > last_ms:
            yield last_ms, start_ms, ""
        yield start_ms, stop_ms, text
        last_ms = stop_ms
    if last_ms < end_ms:
        yield last_ms, end_ms, ""


def _joined_turns(spans: Sequence[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """Neighbors of the same speaker without a pause between them as one."""
    current: tuple[int, int, str] | None = None
    for start_ms, end_ms, who in spans:
        if current is not None and current[2] == who and start_ms <= current[1]:
            current = (current[0], max(current[1], end_ms), who)
            continue
        if current is not None:
            yield current
        current = (start_ms, end_ms, who)
    if current is not None:
        yield current


def _clock(time_ms: int, separator: str) -> str:
    seconds, ms = divmod(time_ms, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{separator}{ms:03d}"


def _field(name: str) -> str:
    """A name in a format whose fields are separated by spaces."""
    return "_".join(name.split()) or "_"


def _seconds(time_ms: int) -> str:
    return f"{time_ms / 1000:.3f}"


def _speaker_prefix(speaker: int | None) -> str:
    return "" if speaker is None else f"[speaker {speaker + 1}] "


def _cue_text(text: str) -> str:
    """Text of a subtitle: on one line, and without the arrow that separates times."""
    return _one_line(text).replace("-->", "->")


def _one_line(text: str) -> str:
    return " ".join(text.split())
