"""One reader for all audio: what it is is decided by its content, and all of it is read or none."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from funrecipe.audio.channels import ChannelCounter
from funrecipe.audio.io import length_s, read_audio
from funrecipe.data.kaldi_dir import check_data_dir
from funrecipe.errors import DataError, UsageError

ROOT = Path(__file__).resolve().parents[2]
AUDIO = ROOT / "tests/data/audio"
WAVS = ROOT / "egs/quickstart/data/wav"
RATE_HZ = 16000
FOREIGN = {
    "s.aac": "AAC", "s.amr": "AMR", "s.ac3": "AC-3", "s.ts": "MPEG transport stream", "s.mka": "WebM/Matroska",
    "s.webm": "WebM/Matroska", "s.wma": "Windows Media", "s.m4a": "MP4/M4A", "s.tta": "True Audio", "s.wv": "WavPack",
}  # fmt: skip
SECONDS = {  # what was encoded, see NOTICE; codecs add at most their delay and the rest of a frame
    "info.mp3": 1.0, "info2.mp3": 0.8, "plain.mp3": 1.0, "vbr_piped.mp3": 1.0, "joint.mp3": 1.0,
    "s.mp2": 1.0, "mp3in.wav": 1.0, "one.ogg": 1.0, "two.ogg": 0.8, "one.opus": 1.0, "two.opus": 0.8, "piped.flac": 1.0,
}  # fmt: skip
PADDING_S = 0.16


def read(source, **kwargs) -> np.ndarray:
    return read_audio(source, sample_rate_hz=RATE_HZ, **kwargs)


def outcome(source, **kwargs):
    """The samples, or the first line of the error."""
    try:
        return read(source, **kwargs)
    except DataError as error:
        return str(error).splitlines()[0]


def speech(name: str, start_s: float, stop_s: float) -> np.ndarray:
    return soundfile.read(WAVS / name, dtype="float32")[0][round(start_s * RATE_HZ) : round(stop_s * RATE_HZ)]


ONE, TWO = speech("BAC009S0150W0014.flac", 0.5, 1.5), speech("BAC009S0150W0034.flac", 0.6, 1.4)
INT16 = np.round(ONE * 32767).astype("<i2")


def likeness(got: np.ndarray, expected: np.ndarray) -> float:
    """Correlation at the best shift of up to 1600 samples: codecs delay."""
    longest = got[: len(expected) + 1600]
    return max(
        float(np.corrcoef(longest[lag : lag + len(expected) - 1600], expected[: len(expected) - 1600])[0, 1])
        for lag in range(0, min(1600, len(longest) - len(expected) + 1600), 4)
    )


# What a source is.


@pytest.mark.parametrize("path", sorted(p for p in AUDIO.iterdir() if p.name != "NOTICE"), ids=lambda p: p.name)
def test_a_file_its_bytes_a_pipe_and_other_names_give_the_same(path, tmp_path):
    by_path = outcome(path)
    copies = [tmp_path / name for name in ("a.pcm", "a.raw", "a.wav", "a")]
    for copy in copies:
        copy.write_bytes(path.read_bytes())
    others = [outcome(path.read_bytes()), outcome(f"cat '{path}' |", allow_pipes=True), *map(outcome, copies)]
    for other in others:
        np.testing.assert_array_equal(other, by_path)


@pytest.mark.parametrize("name", FOREIGN)
def test_formats_that_libsndfile_does_not_read_are_refused_by_name(name):
    with pytest.raises(DataError, match=f"{FOREIGN[name]}.*\n(.*\n)*.*--allow_ffmpeg true") as caught:
        read(AUDIO / name)
    assert caught.value.where == str(AUDIO / name)
    assert length_s(str(AUDIO / name), audio_fs=RATE_HZ) is None


NAMED = {
    "ZIP": b"PK\x03\x04" + bytes(100), "gzip": b"\x1f\x8b\x08\x00" + bytes(100),
    "numpy": b"\x93NUMPY\x01\x00" + bytes(90),
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(90), "AVI": b"RIFF\x00\x10\x00\x00AVI LIST" + bytes(90),
    "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 1234567\n",
    "AAC": b"ADIF" + bytes(90), "SILK": b"\x02#!SILK_V3" + bytes(90), "AMR-WB": b"#!AMR-WB\n" + bytes(90),
    "RealAudio": b".RMF\x00\x00\x00\x12" + bytes(90), "Monkey": b"MAC \x96\x0f" + bytes(90),
    "DTS": b"\x7f\xfe\x80\x01" + bytes(90),
    "QuickTime": bytes(4) + b"mdat" + bytes(90), "Flash": b"FLV\x01\x04" + bytes(90), "Musepack": b"MPCKSH" + bytes(90),
}  # fmt: skip


@pytest.mark.parametrize("what", NAMED)
def test_a_known_signature_is_never_taken_for_raw_samples(what, tmp_path):
    (tmp_path / "a.pcm").write_bytes(NAMED[what])
    for source in (NAMED[what], tmp_path / "a.pcm"):
        with pytest.raises(DataError, match=what):
            read(source)


def raw_signals() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    signals = {f"speech from {start}": INT16[start:] for start in range(0, 4000, 97)}
    signals |= {f"quiet speech from {start}": INT16[start:] // 50 for start in range(0, 4000, 97)}
    signals |= {f"noise {seed}": rng.integers(-32768, 32767, 20000) for seed in range(20)}
    signals |= {f"constant {value}": np.full(5000, value) for value in (0, -1, -2, 1, 255, -257, 0x4747)}
    signals |= {f"tone of {hz} Hz": np.round(9000 * np.sin(np.arange(20000) * hz / 2546)) for hz in range(50, 4000, 83)}
    return signals


def test_what_has_no_signature_is_raw_samples_as_bytes_from_a_pipe_and_under_a_raw_name(tmp_path):
    for what, signal in raw_signals().items():
        expected = np.asarray(signal, "<i2")
        np.testing.assert_array_equal(read(expected.tobytes()) * 32768, expected, err_msg=what)
    raw = INT16.tobytes()
    for name in ("a.pcm", "a.raw", "A.RAW"):
        (tmp_path / name).write_bytes(raw)
        np.testing.assert_array_equal(read(tmp_path / name) * 32768, INT16)
        assert length_s(str(tmp_path / name), audio_fs=8000) == 2.0
    assert len(read(f"cat '{tmp_path}/a.raw' |", allow_pipes=True, audio_fs=8000)) == 2 * RATE_HZ
    (tmp_path / "a.wav").write_bytes(raw)
    with pytest.raises(DataError, match="not audio in any known format.*\n.*\n.*pcm or .raw"):
        read(tmp_path / "a.wav")


def test_special_files_are_refused_and_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for path, what in ((tmp_path / "pipe.wav", "a named pipe"), ("/dev/zero", "a device")):
        with pytest.raises(DataError, match=f"it is {what}"):
            read(path)
    os.mkfifo(tmp_path / "wav.scp")
    with pytest.raises(DataError, match="the list is a named pipe"):
        check_data_dir(tmp_path)


# All of it.


@pytest.mark.parametrize("name", SECONDS)
def test_every_sample_is_read(name):
    got = read(AUDIO / name)
    assert 0 <= len(got) / RATE_HZ - SECONDS[name] <= PADDING_S
    assert likeness(got, TWO if "2." in name or "two" in name else ONE) > 0.85


@pytest.mark.parametrize("name", SECONDS)
def test_lengths_by_the_header_are_exact_or_unknown(name):
    stated_s = length_s(str(AUDIO / name), audio_fs=RATE_HZ)
    if name.endswith((".mp3", ".mp2")) or name == "mp3in.wav":
        assert stated_s is None
    else:
        assert stated_s == len(read(AUDIO / name)) / RATE_HZ


ID3 = b"ID3\x04\x00\x00\x00\x00\x10\x00" + bytes(2048)
ID3V1 = b"TAG" + bytes(125)


@pytest.mark.parametrize("between", [b"", ID3, ID3V1, bytes(300), ID3V1 + ID3])
@pytest.mark.parametrize("names", [("info.mp3", "info2.mp3"), ("plain.mp3", "info.mp3"), ("vbr_piped.mp3", "s.mp2")])
def test_joined_mp3_files_are_read_through(names, between):
    parts = [read(AUDIO / name) for name in names]
    got = read(between.join((AUDIO / name).read_bytes() for name in names))
    assert len(got) == sum(map(len, parts))
    assert likeness(got[len(parts[0]) :], parts[1]) > 0.95


def test_mp3_files_of_other_rates_and_channels_are_joined_at_the_first_rate():
    tone = np.sin(np.arange(24000) * 0.05).astype(np.float32) * 0.3
    files = []
    for rate_hz, samples in ((16000, tone), (24000, np.stack([tone, tone], axis=1))):
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, rate_hz, format="MP3")
        files.append(buffer.getvalue())
    first, second = (len(read(data)) for data in files)
    assert abs(len(read(b"".join(files))) - first - second) <= 2


def test_an_mp3_that_is_cut_off_or_damaged_is_refused():
    data = (AUDIO / "info.mp3").read_bytes()
    for size in (*range(250, len(data), 97), len(data) - 1):
        with pytest.raises(DataError):
            read(data[:size])
    with pytest.raises(DataError, match=r"cut off: \d+ of \d+ frames"):
        read(data[:1500])
    plain = (AUDIO / "vbr_piped.mp3").read_bytes()
    whole = len(read(plain))
    assert 0 < whole - len(read(plain[:-100])) <= 2 * 576  # nothing states how long it is
    with pytest.raises(DataError, match="damaged: no MPEG audio frame at byte 2"):
        read(plain[:2000] + bytes(range(1, 256)) * 4 + plain[2000:])


@pytest.mark.parametrize(
    ("kind", "subtype", "within"),
    [("MP3", "MPEG_LAYER_III", 1e-6), ("OGG", "VORBIS", 1e-6), ("OGG", "OPUS", 1e-2), ("FLAC", "PCM_16", 0)],
)
@pytest.mark.parametrize("rate_hz", [16000, 48000])
def test_long_audio_is_read_in_blocks_and_segments_are_its_parts(kind, subtype, within, rate_hz, tmp_path):
    rng = np.random.default_rng(0)
    signal = np.repeat(rng.uniform(0.01, 0.3, 40), rate_hz // 2) * rng.standard_normal(20 * rate_hz)
    path = tmp_path / "a"
    soundfile.write(path, np.clip(signal, -1, 1), rate_hz, format=kind, subtype=subtype)
    whole = read_audio(path, sample_rate_hz=rate_hz)
    assert len(whole) == len(signal)  # of the mp3, without the delay of the encoder, which its tag states
    np.testing.assert_allclose(whole, soundfile.read(path, dtype="float32")[0], atol=1e-6)
    for start_s, end_s in ((0, 0.01), (0.02, 0.5), (7.77, 7.8), (3, 19), (16.3, 16.5), (19.9, 20), (19.5, 20.4)):
        part = read_audio(path, sample_rate_hz=rate_hz, start_s=start_s, end_s=end_s)
        expected = whole[round(start_s * rate_hz) : round(end_s * rate_hz)]
        assert len(part) == len(expected)
        np.testing.assert_allclose(part, expected, atol=within)
    np.testing.assert_allclose(
        read_audio(path, sample_rate_hz=rate_hz, start_s=19.75), whole[-rate_hz // 4 :], atol=within
    )
    with pytest.raises(DataError, match="is outside the recording of 20.000 s"):
        read_audio(path, sample_rate_hz=rate_hz, start_s=19, end_s=21)


def test_an_mp3_cut_out_of_a_stream_begins_at_its_first_frame():
    data = (AUDIO / "plain.mp3").read_bytes()
    assert 0 <= len(read(data)) - len(read(data[50:])) <= 576


@pytest.mark.parametrize("names", [("one.ogg", "two.ogg"), ("one.opus", "two.opus"), ("two.opus", "one.ogg")])
def test_chained_ogg_streams_are_read_through(names):
    parts = [read(AUDIO / name) for name in names]
    data = b"".join((AUDIO / name).read_bytes() for name in names)
    np.testing.assert_allclose(read(data), np.concatenate(parts), atol=1e-6)
    border_s = len(parts[0]) / RATE_HZ
    segment = read(data, start_s=border_s - 0.1, end_s=border_s + 0.1)
    np.testing.assert_allclose(segment, np.concatenate([parts[0][-1600:], parts[1][:1600]]), atol=1e-6)


def test_an_ogg_stream_with_a_page_that_is_cut_off_damaged_or_missing_is_refused():
    data = (AUDIO / "one.ogg").read_bytes()
    pages = [i for i in range(len(data)) if data[i : i + 4] == b"OggS"]
    flipped = bytearray(data)
    flipped[pages[-1] - 20] ^= 1
    for wrong, why in (
        (data[:-50], "cut off in the middle of an Ogg page"),
        (bytes(flipped), "checksum of the Ogg page"),
        (data[: pages[1]] + data[pages[2] :], "pages are missing"),
        (data[: pages[1]] + b"abcdefg" + data[pages[1] :], "no Ogg page at byte"),
    ):
        with pytest.raises(DataError, match=why):
            read(wrong)


def test_a_flac_of_unknown_length_is_the_flac_of_known_length(tmp_path):
    expected = read(AUDIO / "piped.flac")
    for samples in (1, 4607, 4608, 4609, 16000):
        path = tmp_path / f"{samples}.flac"
        soundfile.write(path, INT16[:samples], RATE_HZ)
        data = bytearray(path.read_bytes())
        numbers = int.from_bytes(data[18:26], "big")
        data[18:26] = (numbers >> 36 << 36).to_bytes(8, "big")  # no number of samples
        np.testing.assert_array_equal(read(bytes(data)), read(path))
    np.testing.assert_array_equal(read(AUDIO / "piped.flac", start_s=0.25, end_s=0.5), expected[4000:8000])
    with pytest.raises(DataError):
        read((AUDIO / "piped.flac").read_bytes()[:20000])
    with pytest.raises(DataError, match="several FLAC streams"):
        read((AUDIO / "piped.flac").read_bytes() * 2)


CONTAINERS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "VOC", "AVR")


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "ULAW"])
def test_containers_of_samples_are_read_whole_or_refused(kind, subtype):
    if not soundfile.check_format(kind, subtype) or (kind, subtype) == ("VOC", "ULAW"):  # a byte more, by libsndfile
        pytest.skip("not an encoding of this container in libsndfile")
    buffer = io.BytesIO()
    soundfile.write(buffer, INT16, RATE_HZ, format=kind, subtype=subtype)
    data = buffer.getvalue()
    assert np.abs(read(data) - ONE).max() < (2e-2 if subtype == "ULAW" else 1e-4)
    np.testing.assert_array_equal(read(data, start_s=0.5), read(data)[8000:])
    with pytest.raises(DataError, match="cut off"):
        read(data[:-1000])


@pytest.mark.parametrize("kind", ["W64", "AIFF", "CAF"])
def test_a_length_that_a_header_does_not_state_is_not_guessed(kind):
    buffer = io.BytesIO()
    soundfile.write(buffer, INT16, RATE_HZ, format=kind)
    data = bytearray(buffer.getvalue())
    name, order = {"W64": (b"data", 24), "AIFF": (b"SSND", 8), "CAF": (b"data", 12)}[kind]
    start = data.index(name)
    data[start + len(name) : start + order] = data[start + len(name) : start + order][
        : -8 if kind != "AIFF" else -4
    ] + (b"\xff" * 7 + b"\x7f" if kind == "W64" else b"\xff" * 8 if kind == "CAF" else b"\x7f\x00\x00\x08")
    with pytest.raises(DataError, match="does not say how long it is"):
        read(bytes(data))


@pytest.mark.parametrize(
    "kind", ["WAV FLOAT", "W64 PCM_16", "AIFF PCM_16", "NIST PCM_16", "FLAC PCM_16", "OGG VORBIS", "OGG OPUS"]
)
def test_no_cut_off_file_passes_for_a_whole_one(kind):
    buffer = io.BytesIO()
    soundfile.write(buffer, INT16, RATE_HZ, format=kind.split()[0], subtype=kind.split()[1])
    data = buffer.getvalue()
    for size in (*range(1, len(data), len(data) // 20), len(data) - 2):
        with pytest.raises(DataError):
            read(io.BytesIO(data[:size]))


def test_an_au_of_unknown_length_is_read_to_its_end():
    buffer = io.BytesIO()
    soundfile.write(buffer, INT16, RATE_HZ, format="AU")
    data = bytearray(buffer.getvalue())
    data[8:12] = b"\xff" * 4
    np.testing.assert_array_equal(read(bytes(data)) * 32768, INT16)


# Archives.


def wav(samples, *, chunk: bytes = b"", size: int | None = None, order: str = "<") -> bytes:
    body = samples.astype(order + "i2").tobytes()
    head = b"WAVEfmt " + struct.pack(order + "IHHIIHH", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16) + chunk
    stated = len(body) if size is None else size
    content = head + b"data" + struct.pack(order + "I", stated) + body
    riff = b"RIFF" if order == "<" else b"RIFX"
    return riff + struct.pack(order + "I", min(len(content), 0xFFFFFFFF) if size is None else size) + content


def archive(path: Path, *entries: bytes) -> list[str]:
    content, places = b"", []
    for number, entry in enumerate(entries, 1):
        content += f"utterance-{number} ".encode()
        places.append(f"{path}:{len(content)}")
        content += entry
    path.write_bytes(content)
    return places


LIST = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 13) + b"Lavf63.1.102\0\0"


@pytest.mark.parametrize("kwargs", [{}, {"chunk": LIST}, {"chunk": LIST * 5}, {"order": ">"}], ids=str)
def test_an_entry_of_an_archive_is_its_own_audio(tmp_path, kwargs):
    first, second = INT16[:4000], INT16[4000:]
    places = archive(tmp_path / "a.ark", wav(first, **kwargs), wav(second, **kwargs))
    for place, expected in zip(places, (first, second)):
        np.testing.assert_array_equal(read(place) * 32768, expected)
        assert length_s(place, audio_fs=RATE_HZ) == len(expected) / RATE_HZ
    np.testing.assert_array_equal(read(places[1], start_s=0.1, end_s=0.2) * 32768, second[1600:3200])


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0])
def test_an_entry_of_unknown_length_is_refused_unless_it_is_the_last(tmp_path, size):
    places = archive(tmp_path / "a.ark", wav(INT16, size=size), wav(INT16, size=size))
    with pytest.raises(DataError):
        read(places[0])
    if size:
        np.testing.assert_array_equal(read(places[1]) * 32768, INT16)
    else:  # a recorder that was interrupted writes this
        with pytest.raises(DataError, match="interrupted"):
            read(places[1])


def test_an_empty_wav_in_an_archive_is_empty(tmp_path):
    for place in archive(tmp_path / "a.ark", wav(INT16[:0]), wav(INT16[:0]))[:2]:
        assert len(read(place)) == 0


def test_other_formats_in_an_archive_are_refused_where_entries_follow(tmp_path):
    flac = (AUDIO / "piped.flac").read_bytes()
    first, last = archive(tmp_path / "a.ark", flac, flac)
    with pytest.raises(DataError, match="FLAC in an archive where other entries follow"):
        read(first)
    np.testing.assert_array_equal(read(last), read(AUDIO / "piped.flac"))
    with pytest.raises(DataError, match="the archive ends before byte"):
        read(f"{tmp_path}/a.ark:99999999")


def test_a_block_of_kaldiio_is_read_like_the_file_in_it(tmp_path):
    mp3 = (AUDIO / "vbr_piped.mp3").read_bytes()
    block = b"AUDIO\x04" + struct.pack("<I", len(mp3)) + mp3
    first, second = archive(tmp_path / "a.ark", block, block)
    np.testing.assert_array_equal(read(first), read(AUDIO / "vbr_piped.mp3"))
    np.testing.assert_array_equal(read(second), read(AUDIO / "vbr_piped.mp3"))
    with pytest.raises(DataError, match="cut off"):
        read(archive(tmp_path / "b.ark", block[:-10])[0])


# Headers that no recording has.


def header(*, channels: int = 1, rate_hz: int = RATE_HZ, size: int = 32000, bits: int = 16) -> bytes:
    block = channels * bits // 8
    fmt = struct.pack("<IHHIIHH", 16, 1, channels, rate_hz, min(rate_hz * block, 2**32 - 1), block % 65536, bits)
    return b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + fmt + b"data" + struct.pack("<I", size) + bytes(32000)


FLAC_OF_A_BILLION = (AUDIO / "piped.flac").read_bytes()[:18] + (
    (16000 << 44) | (15 << 36) | 10**9
).to_bytes(8, "big") + (AUDIO / "piped.flac").read_bytes()[26:]  # fmt: skip
ABSURD = {
    "a sampling rate of 1 Hz": header(rate_hz=1),
    "a sampling rate of 0 Hz": header(rate_hz=0),
    "4000 channels": header(channels=4000),
    "0 channels": header(channels=0),
    "cut off": header(size=2 * 10**9),
    "1000000000 samples": FLAC_OF_A_BILLION,
}


@pytest.mark.parametrize("reason", ABSURD)
def test_an_absurd_header_is_refused_before_memory_is_taken(reason, tmp_path):
    (tmp_path / "a.wav").write_bytes(ABSURD[reason])
    tracemalloc.start()
    try:
        for source in (ABSURD[reason], tmp_path / "a.wav"):
            with pytest.raises(DataError, match=reason):
                read(source)
            with pytest.raises(DataError):
                length_s(str(tmp_path / "a.wav"), audio_fs=RATE_HZ)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_matrix_larger_than_its_archive_is_refused(tmp_path):
    matrix = b"\0BFM \4" + struct.pack("<i", 1) + b"\4" + struct.pack("<i", 10**9) + bytes(400)
    with pytest.raises(DataError, match="corrupt: a Kaldi matrix of 1 x 1000000000"):
        read(archive(tmp_path / "a.ark", matrix)[0])


# Channels and arrays.

STEREO = np.stack([INT16, INT16[::-1]], axis=1)


@pytest.mark.parametrize("source", ["file", "(S, C)", "(C, S)"])
def test_the_channel_that_is_asked_for_is_taken(source, tmp_path):
    soundfile.write(tmp_path / "a.wav", STEREO, RATE_HZ)
    audio = {"file": tmp_path / "a.wav", "(S, C)": STEREO, "(C, S)": STEREO.T}[source]
    for channel, expected in ((1, INT16), ("2", INT16[::-1]), ("mix", STEREO.mean(axis=1))):
        np.testing.assert_allclose(read(audio, channel=channel) * 32768, expected, atol=1e-2)
    with pytest.raises(DataError, match="channel is 3, but the audio has 2"):
        read(audio, channel=3)
    for wrong in (0, -1, "left", 1.5):
        with pytest.raises(UsageError, match="channel is"):
            read(audio, channel=wrong)


def test_recordings_of_several_channels_are_counted(tmp_path):
    soundfile.write(tmp_path / "a.wav", STEREO, RATE_HZ)
    counter = ChannelCounter()
    for source in (tmp_path / "a.wav", INT16, STEREO, AUDIO / "joint.mp3"):
        read(source, on_channels=counter)
    note = "3 of 4 utterances have more than one channel (up to 2): channel 1 is used"
    assert counter.take_note(4, 1) == note and counter.take_note(4, 1) is None


def test_16_bit_values_in_an_array_of_32_bits_are_refused():
    with pytest.raises(UsageError, match="int32 samples are at most .*16-bit values.*\n.*int16"):
        read(INT16.astype(np.int32))
    np.testing.assert_allclose(read(INT16.astype(np.int32) << 16), INT16 / 32768, atol=1e-7)
    assert not read(np.zeros(100, np.int32)).any()
    for kind in (np.int64, np.uint16, np.bool_):
        with pytest.raises(UsageError, match="samples are of type"):
            read(np.ones(100, kind))


# ffmpeg.


def fake_ffmpeg(folder: Path, script: str) -> None:
    (folder / "ffmpeg").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "ffmpeg").chmod(0o755)


def test_ffmpeg_reads_what_libsndfile_does_not_where_it_is_allowed(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "out.wav", ONE, RATE_HZ, subtype="FLOAT")
    fake_ffmpeg(
        tmp_path, f'echo "$@" > {tmp_path}/said; for last; do :; done; cat {tmp_path}/out.wav > "${{last#file:}}"'
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    weird = tmp_path / "it's $(touch x) a.m4a"
    weird.write_bytes((AUDIO / "s.m4a").read_bytes())
    np.testing.assert_array_equal(read(weird, allow_ffmpeg=True), ONE)
    np.testing.assert_array_equal(read(weird.read_bytes(), allow_ffmpeg=True, start_s=0.25), ONE[4000:])
    said = (tmp_path / "said").read_text()
    assert "-f mov -i file:" in said and "touch" not in said
    with pytest.raises(DataError, match="does not read"):
        read(weird)


@pytest.mark.parametrize(("script", "reason"), [("exit 3", "could not read all"), ("echo half >&2", r"\(half\)")])
def test_what_ffmpeg_complains_of_is_refused(tmp_path, monkeypatch, script, reason):
    fake_ffmpeg(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(DataError, match=reason):
        read(AUDIO / "s.m4a", allow_ffmpeg=True)


def test_without_ffmpeg_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="ffmpeg is not installed"):
        read(AUDIO / "s.m4a", allow_ffmpeg=True)


def test_an_mp3_in_free_format_is_named_and_not_taken_for_samples():
    body = np.random.default_rng(0).integers(0, 128, 600, np.uint8).tobytes()  # no second sync word in it
    frames = b"".join(b"\xff\xfb\x00\xc4" + body[i:] + body[:i] for i in range(8))
    with pytest.raises(DataError, match="free format"):
        read(frames)
