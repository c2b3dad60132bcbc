"""The pieces of many recordings as a Kaldi data directory, so that they are decoded as utterances are.

``wav.scp`` has the recordings, ``segments`` what is heard of each piece, and ``pieces`` a line per piece::

    piece recording start_ms end_ms heard_from_ms heard_to_ms cut_ms

with times from the start of the recording, as in :class:`funrecipe.recordings.cutting.Piece`, ``-`` for no cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from funrecipe.data.kaldi_dir import Utterance, read_texts
from funrecipe.errors import DataError
from funrecipe.files import write_text

PIECES = "pieces"
NO_CUT = "-"
DIGEST = ".digest"  # what the pieces were made from and how


@dataclass(frozen=True)
class PieceTimes:
    """A piece without its samples."""

    start_ms: int
    end_ms: int
    heard_from_ms: int
    heard_to_ms: int
    cut_ms: int | None = None

    def id_in(self, recording: str) -> str:
        """Ids sort in order of time."""
        return f"{recording}-{self.heard_from_ms:08d}-{self.heard_to_ms:08d}"


@dataclass(frozen=True)
class CutRecording:
    """A recording, its length and its pieces; or why it could not be read."""

    key: str
    duration_ms: int = 0
    pieces: tuple[PieceTimes, ...] = ()
    error: str = ""


def write_piece_dir(folder: Path, utterances: Sequence[Utterance], cut: Iterable[CutRecording]) -> None:
    """Publish ``wav.scp``, ``segments``, ``pieces``, ``reco2dur_ms`` and ``failed.scp``."""
    by_key = {utterance.utt_id: utterance for utterance in utterances}
    audio: dict[str, str] = {}
    segments, pieces, durations, failed = [], [], [], []
    for recording in cut:
        utterance = by_key[recording.key]
        if recording.error:
            failed.append(f"{recording.key}\t{utterance.audio}\t{' '.join(recording.error.split())}\n")
            continue
        name = utterance.recording_id or utterance.utt_id
        audio[name] = utterance.audio
        offset_ms = round(1000 * (utterance.start_s or 0.0))
        durations.append(f"{recording.key} {recording.duration_ms}\n")
        for piece in recording.pieces:
            piece_id = piece.id_in(recording.key)
            from_s, to_s = ((offset_ms + ms) / 1000 for ms in (piece.heard_from_ms, piece.heard_to_ms))
            segments.append(f"{piece_id} {name} {from_s:.3f} {to_s:.3f}\n")
            times = f"{piece.start_ms} {piece.end_ms} {piece.heard_from_ms} {piece.heard_to_ms}"
            pieces.append(f"{piece_id} {recording.key} {times} {NO_CUT if piece.cut_ms is None else piece.cut_ms}\n")
    write_text(folder / "wav.scp", (f"{name} {path}\n" for name, path in sorted(audio.items())))
    write_text(folder / "segments", segments)
    write_text(folder / PIECES, pieces)
    write_text(folder / "reco2dur_ms", durations)
    write_text(folder / "failed.scp", failed)


def read_piece_dir(folder: Path) -> tuple[dict[str, CutRecording], dict[str, str]]:
    """What :func:`write_piece_dir` wrote: recordings by id, and why others failed.

    Raises:
        DataError: it is not there, or a line is not of this form.
    """
    durations = read_texts(folder / "reco2dur_ms")
    found: dict[str, list[PieceTimes]] = {key: [] for key in durations}
    for piece_id, value in read_texts(folder / PIECES).items():
        fields = value.split()
        try:
            times = [None if field == NO_CUT else int(field) for field in fields[1:]]
            found[fields[0]].append(PieceTimes(*times))  # type: ignore[arg-type]
        except (KeyError, ValueError, TypeError, IndexError):
            raise DataError(f"'{piece_id} {value}' is not a piece", where=str(folder / PIECES)) from None
    recordings = {key: CutRecording(key, int(durations[key]), tuple(pieces)) for key, pieces in found.items()}
    failed = (folder / "failed.scp").read_text(encoding="utf-8").split("\n")  # a path may hold tabs, and U+2028
    return recordings, {line.partition("\t")[0]: line.rpartition("\t")[2] for line in failed if line}


def missing_pieces(recording: CutRecording, results: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The pieces of a recording that some of the files of ``results`` lack."""
    names = (piece.id_in(recording.key) for piece in recording.pieces)
    return [name for name in names if any(name not in found for found in results.values())]


def digest_without_pieces(folder: Path) -> str:
    """What identifies recordings without speech, of which nothing is decoded; empty where there are pieces."""
    has_pieces = (folder / "segments").stat().st_size > 0
    return "" if has_pieces else (folder / DIGEST).read_text(encoding="utf-8").strip()
