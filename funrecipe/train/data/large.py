"""The large data set: streamed from shards, never listed in memory as a whole.

A list file names one shard per line, as in FunASR: ``WAV_SCP TEXT`` (sound), ``FEATS_ARK TEXT`` (kaldi_ark) or
``SHARD_TAR`` (tar, with ``KEY.wav`` or ``KEY.flac`` next to ``KEY.txt``, and for SenseVoice perhaps ``KEY.lang``,
``KEY.emotion``, ``KEY.event``). Within a shard, audio and text are paired by
key.

Order: shards are shuffled by (seed, epoch) and dealt to the ranks; utterances pass a shuffle buffer and a sort buffer,
which is cut into batches under the budget. All of it reads headers only, so that skipping to a batch on resuming is
cheap.
"""

from __future__ import annotations

import io
import logging
import os
import random
import struct
import tarfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from funrecipe.audio.containers import MATRIX_HEAD_BYTES, matrix_shape
from funrecipe.audio.io import length_s, read_audio
from funrecipe.data.kaldi_dir import read_texts, resolve_audio
from funrecipe.errors import DataError, UsageError
from funrecipe.train.data.batching import group_under_budget
from funrecipe.train.data.dataset import ItemLimits, Label, TrainItem
from funrecipe.train.data.rich_labels import LABEL_MEMBERS

log = logging.getLogger(__name__)
KINDS = {"sound": 2, "kaldi_ark": 2, "tar": 1}  # files on a line of the list
FIRST_KEYS = 3  # named in reports, for each reason
AUDIO_SUFFIXES = (".wav", ".flac")
AUDIO, TEXT = "audio", ".txt"  # parts of an utterance in a tar shard


@dataclass(frozen=True)
class Shard:
    kind: str
    files: tuple[str, ...]


def read_shard_list(path: Path, kind: str) -> list[Shard]:
    """The shards of a list file; relative paths count from the working directory, else from the list's folder.

    Raises:
        UsageError: an unknown kind. DataError: a line with another number of files, or a file that is not there.
    """
    if kind not in KINDS:
        raise UsageError(
            f"dataset_conf: data_types is '{kind}'",
            hint=f"give 'sound,text', 'kaldi_ark,text' or one of {', '.join(KINDS)}",
        )
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise DataError("the list of shards is not UTF-8", where=str(path), hint="convert it with iconv") from None
    shards = []
    for number, line in enumerate(lines, 1):
        files = tuple(resolve_audio(name, str(path.parent)) for name in line.split())
        if not files:
            continue
        if len(files) != KINDS[kind]:
            raise DataError(
                f"{len(files)} files for a shard of kind {kind}, expected {KINDS[kind]}", where=f"{path}:{number}"
            )
        for name in files:
            if not Path(name).is_file():
                raise DataError(f"no such file: {name}", where=f"{path}:{number}")
        shards.append(Shard(kind, files))
    if not shards:
        raise DataError("the list of shards is empty", where=str(path))
    return shards


@dataclass(frozen=True)
class RawItem:
    """An utterance as a shard gives it, before its text is cut into tokens."""

    key: str
    audio: str
    text: str
    duration_ms: float
    kind: str
    tags: str = ""  # labels that the shard states, as a text would begin with them


class Dropped(Counter[str]):
    """Reason -> how many utterances were left out for it, with the keys of the first ones."""

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[str, list[str]] = {}

    def add(self, reason: str, key: str) -> None:
        self[reason] += 1
        first = self._first.setdefault(reason, [])
        if len(first) < FIRST_KEYS:
            first.append(key)

    def keys_of(self, reason: str) -> list[str]:
        """The keys of the first utterances left out, and '...' for each of the others."""
        first = self._first.get(reason, [])
        return first + ["..."] * (self[reason] - len(first))

    def clear(self) -> None:
        super().clear()
        self._first.clear()


def read_shard(
    shard: Shard, frame_shift_ms: float, dropped: Dropped, *, sample_rate_hz: int = 16000
) -> Iterator[RawItem]:
    """Utterances of one shard in its order; what cannot be paired or measured is counted in ``dropped``.

    Args:
        sample_rate_hz: of raw samples, which do not name their own.
    """
    if shard.kind == "tar":
        yield from _read_tar(shard.files[0], dropped)
        return
    texts = read_texts(shard.files[1])
    is_sound = shard.kind == "sound"
    sounds = _read_sounds(shard.files[0]) if is_sound else _read_ark(shard.files[0], frame_shift_ms)
    for key, audio, duration_ms in sounds:
        text = texts.pop(key, None)
        if text is None:
            dropped.add("audio without text", key)
            continue
        try:
            duration_ms = _sound_ms(audio, sample_rate_hz) if is_sound else duration_ms
        except DataError as error:
            dropped.add(_unreadable(error), key)
            continue
        yield RawItem(key, audio, text, duration_ms, shard.kind)
    for key in texts:
        dropped.add("text without audio", key)


def texts_of(shards: Iterable[Shard]) -> Iterator[str]:
    """All texts, without the audio: what a longer vocabulary or a phone set is made from."""
    for shard in shards:
        if shard.kind != "tar":
            yield from read_texts(shard.files[1]).values()
            continue
        for name, _, content in _members(shard.files[0], (TEXT,)):
            yield _as_text(content, f"{shard.files[0]}: {name}")


def _read_sounds(scp: str) -> Iterator[tuple[str, str, float]]:
    for key, value in read_texts(scp).items():
        yield key, resolve_audio(value, str(Path(scp).parent)), 0.0  # measured when it has a text


def _sound_ms(source: str | io.BytesIO, sample_rate_hz: int) -> float:
    """By the header where that is exact, else by decoding all of it. Raises DataError."""
    if isinstance(source, str) and source.endswith("|"):
        raise DataError("the audio is a command; training reads only files", where=source)
    seconds = length_s(source, audio_fs=sample_rate_hz)
    if seconds is None:
        seconds = len(read_audio(source, sample_rate_hz=sample_rate_hz)) / sample_rate_hz
    return 1000.0 * seconds


def _unreadable(error: DataError) -> str:
    return f"unreadable audio: {error.what.removeprefix('cannot read audio: ')}"


def _read_ark(path: str, frame_shift_ms: float) -> Iterator[tuple[str, str, float]]:
    """Keys, ``path:offset`` and durations of a binary Kaldi archive of matrices; reads headers, skips the numbers.

    Raises:
        DataError: it ends in the middle of a matrix, or holds something else.
    """
    try:
        size, opened = os.path.getsize(path), open(path, "rb")  # noqa: SIM115  # closed below
    except OSError as error:
        raise unreadable_shard(error, path) from None
    with opened as ark:
        while key := _read_key(ark, path):
            offset = ark.tell()
            try:
                rows = _skip_matrix(ark, path, key)
            except struct.error:
                rows = -1
            if rows < 0 or ark.tell() > size:
                said = f"the archive is damaged or cut off in '{key}'"
                raise DataError(said, where=path, hint="write or copy it again")
            yield key, f"{path}:{offset}", rows * frame_shift_ms


def _read_key(ark: io.BufferedReader, path: str) -> str:
    """The key that the archive is at; empty at its end."""
    start, key = ark.tell(), bytearray()
    while (byte := ark.read(1)) not in (b"", b" "):
        key += byte
    try:
        return key.decode("utf-8").strip()
    except UnicodeDecodeError:
        hint = "write it again: a Kaldi archive is 'KEY MATRIX KEY MATRIX ...'"
        raise DataError(f"no key at byte {start}: the archive is damaged", where=path, hint=hint) from None


def _skip_matrix(ark: io.BufferedReader, path: str, key: str) -> int:
    """Move past a binary matrix (full or compressed); returns its rows, -1 if it has no size that a matrix can have."""
    start, head = ark.tell(), ark.read(MATRIX_HEAD_BYTES)
    if head[:2] != b"\0B":
        raise DataError(
            f"'{key}' is not a binary Kaldi matrix",
            where=path,
            hint="convert it: copy-feats ark:TEXT ark:BINARY; a *.scp is not an archive",
        )
    shape, num_bytes = matrix_shape(head)
    if len(shape) != 2:
        raise DataError(f"'{key}' has the type {head[2:5]!r}, not a matrix", where=path)
    if min(shape) < 0:
        return -1
    ark.seek(start + num_bytes)
    return shape[0]


def _read_tar(path: str, dropped: Dropped) -> Iterator[RawItem]:
    """``KEY.wav`` or ``KEY.flac`` with ``KEY.txt`` and perhaps labels; audio is named ``path:offset:size``.

    The members of an utterance may come in any order; labels that come after both others must follow them directly.
    """
    waiting: dict[str, dict[str, Any]] = {}
    current = ""
    for name, offset, content in _members(path, (*AUDIO_SUFFIXES, TEXT, *LABEL_MEMBERS)):
        if name.stem != current:
            yield from _complete(current, waiting, dropped)
        current = name.stem
        parts = waiting.setdefault(current, {})
        if name.suffix in AUDIO_SUFFIXES:
            parts[AUDIO] = f"{path}:{offset}:{len(content)}", _content_ms(content)
        else:
            parts[name.suffix] = _as_text(content, f"{path}: {name}")
    for key in list(waiting):
        yield from _complete(key, waiting, dropped)
    for key, parts in waiting.items():
        if AUDIO in parts or TEXT in parts:
            dropped.add("text without audio" if TEXT in parts else "audio without text", key)


def _members(path: str, suffixes: Collection[str]) -> Iterator[tuple[Path, int, bytes]]:
    """Name, offset and content of the files in a tar archive that end in ``suffixes``.

    Raises:
        DataError: it is damaged, cut off, or followed by something; Python takes most of that for its end.
    """
    hint = "write or copy the shard again, without compression"
    try:
        with tarfile.open(path, "r:") as tar, open(path, "rb") as file:
            for member in tar:
                name = Path(member.name)
                if member.isfile() and name.suffix in suffixes:
                    file.seek(member.offset_data)
                    yield name, member.offset_data, file.read(member.size)
            file.seek(tar.offset)
            end = file.read()
    except OSError as error:
        raise unreadable_shard(error, path) from None
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise DataError(f"not a whole tar archive: {error}", where=path, hint=hint) from None
    if not end or end.strip(b"\0"):
        raise DataError(f"not a whole tar archive: no end mark at byte {tar.offset}", where=path, hint=hint)


def unreadable_shard(error: OSError, path: str) -> DataError:
    return DataError(f"cannot read the shard: {error.strerror}", where=path, hint="put it back, or list where it is")


def _as_text(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise DataError("the text is not UTF-8", where=where, hint="convert it with iconv") from None


def _complete(key: str, waiting: dict[str, dict[str, Any]], dropped: Dropped) -> Iterator[RawItem]:
    """The utterance ``key``, taken out of ``waiting``, if its audio and its text are there."""
    if not {AUDIO, TEXT} <= waiting.get(key, {}).keys():
        return
    parts = waiting.pop(key)
    sound, duration_ms = parts[AUDIO]
    named = {kind: parts[kind].removeprefix("<|").removesuffix("|>") for kind in LABEL_MEMBERS if kind in parts}
    unknown = [name for kind, name in named.items() if name not in LABEL_MEMBERS[kind]]
    if isinstance(duration_ms, DataError):
        dropped.add(_unreadable(duration_ms), key)
    elif unknown:
        dropped.add(f"'{unknown[0]}' is not a label", key)
    else:
        tags = "".join(f"<|{name}|>" for name in named.values())
        yield RawItem(key, sound, parts[TEXT], duration_ms, "tar", tags)


def _content_ms(content: bytes) -> float | DataError:
    try:
        return _sound_ms(io.BytesIO(content), 16000)  # a header says its rate
    except DataError as error:
        return error


@dataclass
class StreamedPlan:
    """Batches of a rank, streamed in the order that the module describes.

    Attributes:
        tokenize: text -> ids.
        limits: what is kept.
        cost_of: what an utterance counts against ``budget``.
        shuffle_size, sort_size: sizes of the buffers, in utterances (FunASR: 2048, 500).
        phones_of: token ids -> phone ids of the auxiliary phone CTC; None: it is off.
        label: reads the rich labels of a model that tells them.
        max_bad_share: of a pass that may be left out.
        passes: how often the data is read in one epoch, each time in another order.
        dropped: reason -> count, of the last pass.
        kept: how many the last pass gave.
    """

    shards: list[Shard]
    tokenize: Callable[[str], tuple[int, ...]]
    limits: ItemLimits
    cost_of: Callable[[TrainItem], float]
    budget: float
    shuffle_size: int = 2048
    sort_size: int = 500
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    frame_shift_ms: float = 10.0
    sample_rate_hz: int = 16000
    passes: int = 1
    phones_of: Callable[[Sequence[int]], tuple[int, ...]] | None = None
    label: Label | None = None
    max_bad_share: float = 1.0
    dropped: Dropped = field(default_factory=Dropped)
    kept: int = 0
    faulty: int = 0
    read: int = 0

    def batches(self, epoch: int) -> Iterator[list[TrainItem]]:
        for k in range(self.passes):
            yield from self.one_pass(epoch * self.passes + k)

    def one_pass(self, epoch: int) -> Iterator[list[TrainItem]]:
        chooser = random.Random(f"{self.seed}-{epoch}-{self.rank}")
        items = shuffled(self.items(epoch), self.shuffle_size, chooser)
        while group := sorted(islice(items, max(1, self.sort_size)), key=lambda item: item.length):
            batches = list(group_under_budget(group, self.cost_of, self.budget))
            chooser.shuffle(batches)
            yield from batches
        self.report()

    def report(self) -> None:
        """Log what the last pass left out; DataError if that is more than ``max_bad_share``: the pre-flight looked at
        the first utterances only."""
        by_readers = sum(self.dropped.values()) - self.faulty
        # What is read may be more than this rank's part, so the faults in that stand for those in all of it.
        faulty = self.read * self.faulty / max(1, self.faulty + self.kept)
        bad_share = (by_readers + faulty) / max(1, by_readers + self.read)
        for reason, count in self.dropped.most_common():
            keys = ", ".join(self.dropped.keys_of(reason)[: FIRST_KEYS + 1])
            log.warning("%d utterances of this pass were left out: %s (%s)", count, reason, keys)
        if bad_share > self.max_bad_share:
            raise DataError(
                f"{bad_share:.1%} of the utterances of a pass cannot be used: {next(iter(self.dropped))} ...",
                where=self.shards[0].files[0],
                hint="fix or remove them (the log has the reasons), or train on the rest with --max_bad_share 1",
            )

    def items(self, epoch: int) -> Iterator[TrainItem]:
        """This rank's utterances: whole shards where there are enough of them, else every n-th utterance."""
        self.dropped.clear()
        self.kept = self.faulty = self.read = 0
        order = self.shards[:]
        random.Random(f"{self.seed}-{epoch}").shuffle(order)
        by_shard = len(order) >= self.world_size
        mine = order[self.rank :: self.world_size] if by_shard else order
        raw = (
            item
            for shard in mine
            for item in read_shard(shard, self.frame_shift_ms, self.dropped, sample_rate_hz=self.sample_rate_hz)
        )
        for item in raw:
            self.read += 1
            if not by_shard and (self.read - 1) % self.world_size != self.rank:
                continue
            labels, written = self.label(item.key, item.tags + item.text) if self.label else ((), item.text)
            text = self.tokenize(written)
            fault = self.limits.fault(item.duration_ms, text)
            if fault:
                self.dropped.add(fault, item.key)
                self.faulty += 1
            else:
                self.kept += 1
                phones = self.phones_of(text) if self.phones_of else ()
                yield TrainItem(item.key, item.audio, text, item.duration_ms, item.kind, phones, labels=labels)


def shuffled(items: Iterable[TrainItem], size: int, chooser: random.Random) -> Iterator[TrainItem]:
    """Items in random order as far as a buffer of ``size`` allows; 0 keeps the order."""
    buffer: list[TrainItem] = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
            continue
        if not buffer:
            yield item
            continue
        place = chooser.randrange(len(buffer))
        buffer[place], item = item, buffer[place]
        yield item
    chooser.shuffle(buffer)
    yield from buffer
