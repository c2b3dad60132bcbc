"""Import other formats as a Kaldi directory: no audio is copied or renamed, everything left out is reported.

Ids: the source's own, else the name of the audio file; every character but letters, digits and ``-_.=+@`` becomes
``_``, and so does a dot before another; of equal ids the second gets ``_2``, the third ``_3``, in the order of the
source. ``imported.tsv`` lists the original of each id, ``left_out.tsv`` what is left out and why.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from funrecipe.data.sources import Item
from funrecipe.errors import DataError
from funrecipe.files import atomic_folder, unique_name, write_text

_UNSAFE = re.compile(r"[^\w\-.=+@]|\.(?=\.)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
SIDE_FILES = {"language": "utt2lang", "emotion": "utt2emotion", "event": "utt2event"}
CLIPS = "clips"  # where Common Voice keeps the audio that its tables name


@dataclass
class Imported:
    """The result of an import.

    Attributes:
        items: by their new ids, in byte order. left_out: (where, reason).
    """

    items: dict[str, Item] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def collect(items: Iterable[Item], base: Path) -> Imported:
    """Check items, find their audio, give them ids.

    Args:
        base: the folder that relative audio paths are relative to.
    """
    found, taken = Imported(), Counter[str]()
    kept = []
    for item in items:
        audio = find_audio(item.audio, base)
        if fault := item.fault or fault_of(item, audio):
            found.left_out.append((item.where, fault))
        else:
            kept.append(replace(item, audio=str(audio), text=item.text and " ".join(item.text.split())))
    has_texts = any(item.text is not None for item in kept)
    for item in kept:
        if has_texts and not item.text:
            found.left_out.append((item.where, "it has no text, but others do"))
            continue
        base_id = _UNSAFE.sub("_", item.id) or "utterance"
        new_id = base_id
        while new_id in found.items:
            taken[base_id] += 1
            new_id = f"{base_id}_{taken[base_id] + 1}"
        found.items[new_id] = item
    found.items = dict(sorted(found.items.items()))
    return found


def find_audio(audio: str, base: Path) -> Path | None:
    """The file that a source names: as it is, below ``base``, or below its folder ``clips``."""
    if not audio or _CONTROL.search(audio):
        return None
    for path in (base / audio, base / CLIPS / audio):
        if path.is_file():
            return Path(os.path.abspath(path))
    return None


def fault_of(item: Item, audio: Path | None) -> str | None:
    """Why an item cannot be used, or None."""
    if not item.audio:
        return "no audio file is given"
    if audio is None:
        return f"no such audio file '{item.audio}'"
    if str(audio).endswith("|"):
        return f"the name '{item.audio}' would be a command in wav.scp"
    if item.text is not None and _CONTROL.search(" ".join(item.text.split())):
        return "the text has control characters"
    return None


def write_kaldi_dir(found: Imported, out_dir: Path) -> None:
    """Write the lists of ``found``; the directory is complete or absent.

    Raises:
        DataError: nothing is left, or the directory is not empty.
    """
    if not found.items:
        first = "; ".join(f"{where}: {reason}" for where, reason in found.left_out[:3])
        raise DataError("no utterance can be imported", where=str(out_dir), hint=first or "give a source with audio")
    if out_dir.exists() and any(out_dir.iterdir()):
        raise DataError("the folder is not empty", where=str(out_dir), hint="choose another --out")
    with atomic_folder(out_dir) as new:
        for name, lines in lists_of(found).items():
            write_text(new / name, "".join(f"{line}\n" for line in lines))


def lists_of(found: Imported) -> dict[str, list[str]]:
    """Lines by file name; files that would be empty are left out."""
    items = found.items
    is_cut = any(item.start_s is not None for item in items.values())
    if is_cut:
        recordings = recording_ids(items)
        sounds = sorted(f"{name} {audio}" for audio, name in recordings.items())
        pieces = [f"{key} {recordings[item.audio]} {_span(item)}" for key, item in items.items()]
    else:
        sounds, pieces = [f"{key} {item.audio}" for key, item in items.items()], []
    lists = {
        "wav.scp": sounds,
        "segments": pieces,
        "text": [f"{key} {item.text}" for key, item in items.items() if item.text],
        "utt2spk": [f"{key} {_UNSAFE.sub('_', item.speaker)}" for key, item in items.items() if item.speaker],
        "imported.tsv": [f"{key}\t{item.where}\t{item.audio}" for key, item in items.items()],
        "left_out.tsv": [f"{where}\t{reason}" for where, reason in found.left_out],
    }
    for label, file in SIDE_FILES.items():
        lists[file] = [f"{key} {item.labels[label]}" for key, item in items.items() if label in item.labels]
    return {name: lines for name, lines in lists.items() if lines}


def _span(item: Item) -> str:
    """Start and end as in ``segments``; -1 is the end of the recording."""
    return f"{item.start_s or 0.0:.3f} {-1 if item.end_s is None else format(item.end_s, '.3f')}"


def recording_ids(items: Mapping[str, Item]) -> dict[str, str]:
    """Audio file -> id of its recording, made like ids of utterances."""
    ids: dict[str, str] = {}
    for item in items.values():
        if item.audio not in ids:
            ids[item.audio] = unique_name(_UNSAFE.sub("_", Path(item.audio).stem), ids.values())
    return ids
