"""Read damaged audio: whatever is done to a file, it is read or refused, in little time and memory.

    .venv/bin/python tools/fuzz/audio.py --count 2000 --seed 0

Takes small files of every kind (tests/data/audio, and what libsndfile writes), damages them in a seeded way and reads
each from a file, as bytes, in part and inside an archive. These are wrong: an error that is not a DataError, more
than 10 s or 1 GB, samples from bytes or in blocks that differ from the file's, and a length in the header that is not
that of the samples. Prints counts; if anything is wrong, the exit code is 1 and the file is kept.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from funrecipe.audio.io import length_s, read_audio, stream_audio  # noqa: E402
from funrecipe.errors import DataError  # noqa: E402

RATE_HZ = 16000
MAX_S = 10
MAX_BYTES = 1 << 30
WRITTEN = (
    *("WAV PCM_16", "WAV PCM_24", "WAV FLOAT", "WAV ULAW", "WAV IMA_ADPCM", "WAV GSM610", "WAVEX PCM_16"),
    *("RF64 PCM_16", "W64 PCM_16", "AIFF PCM_16", "AU PCM_16", "CAF PCM_16", "CAF ALAC_16", "NIST PCM_16"),
    *("FLAC PCM_16", "OGG VORBIS", "OGG OPUS", "MP3 MPEG_LAYER_III", "VOC PCM_16", "AVR PCM_16", "PAF PCM_16"),
    *("HTK PCM_16", "IRCAM PCM_16", "SVX PCM_S8", "PVF PCM_16"),
)
EXTREMES = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\x01\0\0\0",
    b"\0\0\0\x01",
    b"\0\xca\x9a\x3b",
)
Damage = Callable[[bytes, random.Random], bytes]


def sources(chooser: random.Random) -> dict[str, bytes]:
    """Whole files by name."""
    files = {p.name: p.read_bytes() for p in sorted((ROOT / "tests/data/audio").iterdir()) if p.name != "NOTICE"}
    noise = np.array([chooser.gauss(0, 0.1) for _ in range(4000)], np.float32)
    for kind in WRITTEN:
        file_format, subtype = kind.split()
        for channels in (1, 2):
            buffer = io.BytesIO()
            try:
                soundfile.write(
                    buffer, np.stack([noise] * channels, axis=1), RATE_HZ, format=file_format, subtype=subtype
                )
            except (soundfile.LibsndfileError, ValueError):
                continue  # not with so many channels, or not in this libsndfile
            files[f"{kind} {channels}"] = buffer.getvalue()
    files["raw"] = (noise * 9000).astype("<i2").tobytes()
    return files


def flip_bits(data: bytes, chooser: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chooser.choice((1, 2, 5, 30))):
        changed[chooser.randrange(len(changed))] ^= 1 << chooser.randrange(8)
    return bytes(changed)


def flip_header_bits(data: bytes, chooser: random.Random) -> bytes:
    return flip_bits(data[:100], chooser) + data[100:]


def put_extremes(data: bytes, chooser: random.Random) -> bytes:
    """Sizes, rates and counts that are 0, -1, the largest, 10**9."""
    changed = bytearray(data)
    for _ in range(chooser.choice((1, 2, 3))):
        at = chooser.randrange(min(len(changed), 120))
        value = chooser.choice(EXTREMES)[: chooser.choice((2, 4, 4))]
        changed[at : at + len(value)] = value
    return bytes(changed)


def cut_end(data: bytes, chooser: random.Random) -> bytes:
    return data[: chooser.randrange(1, len(data))]


def cut_beginning(data: bytes, chooser: random.Random) -> bytes:
    return data[chooser.randrange(1, len(data)) :]


def cut_middle(data: bytes, chooser: random.Random) -> bytes:
    at = chooser.randrange(len(data))
    return data[:at] + data[at + chooser.choice((1, 2, 100, 1000)) :] or b"\0"


def insert(data: bytes, chooser: random.Random) -> bytes:
    at, size = chooser.randrange(len(data)), chooser.choice((1, 4, 100, 3000))
    return data[:at] + chooser.choice((bytes(size), chooser.randbytes(size))) + data[at:]


def double(data: bytes, chooser: random.Random) -> bytes:
    return data * chooser.choice((2, 3))


def repeat_stretch(data: bytes, chooser: random.Random) -> bytes:
    at, size = chooser.randrange(len(data)), chooser.choice((8, 64, 512))
    return data[: at + size] + data[at : at + size] * chooser.choice((1, 50, 3000)) + data[at + size :]


DAMAGES: tuple[Damage, ...] = (
    *(flip_bits, flip_header_bits, flip_header_bits, put_extremes, put_extremes, cut_end, cut_beginning, cut_middle),
    *(insert, double, repeat_stretch),
)


def damaged(number: int, seed: int, files: dict[str, bytes]) -> tuple[str, bytes]:
    """The ``number``-th damaged file and what was done to it."""
    chooser = random.Random(f"{seed}-{number}")
    name = chooser.choice(sorted(files))
    data, done = files[name], []
    if chooser.random() < 0.15:  # another file follows
        other = chooser.choice(sorted(files))
        data, done = data + files[other], [f"+ {other}"]
    for damage in chooser.sample(DAMAGES, chooser.choice((1, 1, 1, 2))):
        data = damage(data, chooser)
        done.append(damage.__name__)
    return f"{name}: {', '.join(done)}", data


def outcome(source: object, **kwargs: object) -> np.ndarray | str:
    """The samples, or why the source is refused."""
    try:
        return read_audio(source, sample_rate_hz=RATE_HZ, **kwargs)  # type: ignore[arg-type]
    except DataError as error:
        return error.what


def check(data: bytes, folder: Path) -> tuple[str, list[str]]:
    """Read one damaged file in every way; ``read`` or ``refused``, and what is wrong."""
    path, ark = folder / "audio.bin", folder / "audio.ark"
    path.write_bytes(data)
    ark.write_bytes(b"a " + data + b"b " + data)
    wrong: list[str] = []
    by_path = outcome(str(path))
    by_bytes = outcome(data)
    if not isinstance(by_path, str) and not np.array_equal(by_path, by_bytes):
        wrong.append("other samples from bytes than from the file")
    if isinstance(by_path, str) and not isinstance(by_bytes, str) and "not audio in any known" not in by_path:
        wrong.append(f"refused as a file ({by_path}), read as bytes")
    stated_s = _stated_s(str(path))
    if not isinstance(by_path, str) and stated_s is not None:
        off = abs(stated_s * RATE_HZ - len(by_path))
        if off > 1 + 0.001 * len(by_path):  # rates are converted
            wrong.append(f"the header says {stated_s} s, {len(by_path) / RATE_HZ} s are read")
    streamed = _streamed(str(path))
    if isinstance(by_path, str) != isinstance(streamed, str) or (
        not isinstance(by_path, str) and abs(len(by_path) - len(streamed)) > 1
    ):
        wrong.append(f"as blocks: {streamed if isinstance(streamed, str) else len(streamed)}")
    outcome(str(path), start_s=0.05, end_s=0.1)
    for place in (f"{ark}:2", f"{ark}:{4 + len(data)}"):
        outcome(place, channel="mix")
        _stated_s(place)
    return "refused" if isinstance(by_path, str) else "read", wrong


def _streamed(place: str) -> np.ndarray | str:
    try:
        return np.concatenate([np.zeros(0, np.float32), *stream_audio(place, sample_rate_hz=RATE_HZ)])
    except DataError as error:
        return error.what


def _stated_s(place: str) -> float | None:
    try:
        return length_s(place, audio_fs=RATE_HZ)
    except DataError:
        return None


def run(count: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Check ``count`` damaged files: counts of outcomes, and what is wrong with which."""
    files, counts, problems = sources(random.Random(seed)), Counter[str](), []
    for number in range(count):
        what, data = damaged(number, seed, files)
        started = time.monotonic()
        faulthandler.dump_traceback_later(3 * MAX_S, exit=True)
        try:
            result, wrong = check(data, folder)
        except Exception as error:  # whatever it is, it is what we look for
            result, wrong = "failed", [f"{type(error).__name__}: {error}"]
        finally:
            faulthandler.cancel_dump_traceback_later()
        elapsed_s = time.monotonic() - started
        if elapsed_s > MAX_S:
            wrong.append(f"took {elapsed_s:.1f} s")
        counts[result] += 1
        if wrong:
            counts["wrong"] += 1
            (folder / f"wrong.{number}").write_bytes(data)
            problems += [f"{number} ({what}): {problem}" for problem in wrong]
    counts["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return counts, problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="damaged files (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for files that show a problem (default: a temporary one)")
    args = parser.parse_args()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    folder = args.keep or Path(tempfile.mkdtemp(prefix="fuzz."))
    folder.mkdir(parents=True, exist_ok=True)
    counts, problems = run(args.count, args.seed, folder)
    if counts["peak MB"] << 20 > used + MAX_BYTES:
        problems.append(f"{counts['peak MB']} MB of memory")
    print("\n".join(problems))
    print(
        ", ".join(f"{name}: {value}" for name, value in sorted(counts.items())), f"problems: {len(problems)} ({folder})"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
