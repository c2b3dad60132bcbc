"""Reading audio: every container and sample type of one known signal, segments, archives, faults."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import sys
import time
import wave
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from funrecipe.audio.io import read_audio
from funrecipe.errors import DataError, UnsafeFileError, UsageError

RATE_HZ = 16000
SIGNAL = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)
INT16 = np.round(SIGNAL * 32767).astype(np.int16)


def write(path, samples, subtype="PCM_16", rate_hz=RATE_HZ, **kwargs):
    soundfile.write(path, samples, rate_hz, subtype=subtype, **kwargs)
    return str(path)


def lines_of(path):
    return Path(path).read_text().splitlines()


@pytest.mark.parametrize(
    ("subtype", "step"),
    [("PCM_U8", 2**-7), ("PCM_16", 2**-15), ("PCM_24", 2**-23), ("PCM_32", 2**-31), ("FLOAT", 0), ("DOUBLE", 0)],
)
def test_wav_sample_types_have_the_scale_of_their_full_range(tmp_path, subtype, step):
    path = write(tmp_path / "a.wav", SIGNAL, subtype)
    got = read_audio(path, sample_rate_hz=RATE_HZ)
    assert got.dtype == np.float32 and got.shape == SIGNAL.shape
    assert np.abs(got - SIGNAL).max() <= step + 1e-7


def test_16_bit_wav_equals_the_standard_library(tmp_path):
    path = write(tmp_path / "a.wav", INT16)
    with wave.open(path) as reference:
        expected = np.frombuffer(reference.readframes(reference.getnframes()), "<i2") / 32768.0
    np.testing.assert_array_equal(read_audio(path, sample_rate_hz=RATE_HZ), expected.astype(np.float32))


@pytest.mark.parametrize(("name", "subtype"), [("a.flac", "PCM_16"), ("a.ogg", "VORBIS"), ("a.mp3", "MPEG_LAYER_III")])
def test_compressed_containers(tmp_path, name, subtype):
    got = read_audio(write(tmp_path / name, SIGNAL, subtype), sample_rate_hz=RATE_HZ)
    best = max(np.corrcoef(got[lag : lag + 8000], SIGNAL[:8000])[0, 1] for lag in range(0, 40))
    assert abs(len(got) - RATE_HZ) <= 2500 and best > 0.99


def test_stereo_gives_the_first_channel(tmp_path):
    path = write(tmp_path / "a.wav", np.stack([INT16, -INT16 // 2], axis=1))
    np.testing.assert_array_equal(read_audio(path, sample_rate_hz=RATE_HZ), (INT16 / 32768.0).astype(np.float32))


@pytest.mark.parametrize("rate_hz", [8000, 11025, 44100, 48000])
def test_any_rate_is_resampled_to_the_models(tmp_path, rate_hz):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)
    got = read_audio(write(tmp_path / "a.wav", tone, "FLOAT", rate_hz), sample_rate_hz=RATE_HZ)
    assert abs(len(got) - RATE_HZ) <= 1
    inner = slice(2000, 14000)  # an analytic tone, away from the filter's ends
    assert np.abs(got[inner] - SIGNAL[inner]).max() < 2e-3


def test_raw_pcm_takes_its_rate_from_audio_fs(tmp_path):
    (tmp_path / "a.pcm").write_bytes(INT16.astype("<i2").tobytes())
    same = read_audio(tmp_path / "a.pcm", sample_rate_hz=RATE_HZ)
    np.testing.assert_array_equal(same, (INT16 / 32768.0).astype(np.float32))
    assert len(read_audio(tmp_path / "a.pcm", sample_rate_hz=RATE_HZ, audio_fs=8000)) == 2 * RATE_HZ


def test_bytes_with_a_header_and_without():
    buffer = io.BytesIO()
    soundfile.write(buffer, INT16, 8000, format="WAV")
    assert abs(len(read_audio(buffer.getvalue(), sample_rate_hz=RATE_HZ)) - 2 * RATE_HZ) <= 1
    raw = read_audio(INT16.astype("<i2").tobytes(), sample_rate_hz=RATE_HZ)
    np.testing.assert_array_equal(raw, (INT16 / 32768.0).astype(np.float32))


@pytest.mark.parametrize("shape", ["(S,)", "(S, 2)", "(2, S)", "tensor", "float64"])
def test_arrays(shape):
    two = np.stack([INT16, 0 * INT16])
    if shape == "tensor":
        import torch

        source = torch.from_numpy(INT16)
    else:
        source = {"(S,)": INT16, "(S, 2)": two.T, "(2, S)": two, "float64": INT16 / 32768.0}[shape]
    got = read_audio(source, sample_rate_hz=RATE_HZ)
    np.testing.assert_array_equal(got, (INT16 / 32768.0).astype(np.float32))
    assert got.dtype == np.float32


@pytest.mark.parametrize("kind", [">i2", ">i4", ">f4", "bfloat16", "negated", "trained"])
def test_arrays_and_tensors_as_other_programs_keep_them(kind):
    import torch

    if kind == "bfloat16":
        source = torch.from_numpy(INT16 / 32768.0).bfloat16()
        np.testing.assert_array_equal(read_audio(source, sample_rate_hz=RATE_HZ), source.float().numpy())
        return
    wanted = (INT16 / 32768.0).astype(np.float32)
    values = torch.from_numpy(wanted.copy())
    sources = {
        ">i2": INT16.astype(">i2"),
        ">i4": (INT16.astype(np.int64) << 16).astype(">i4"),
        ">f4": wanted.astype(">f4"),
        "negated": torch.complex(values, -values).conj().imag,
        "trained": values.requires_grad_(),
    }
    np.testing.assert_array_equal(read_audio(sources[kind], sample_rate_hz=RATE_HZ), wanted)


def test_a_tensor_without_plain_values_is_a_usage_error():
    import torch

    for source in (torch.empty(5, device="meta"), torch.ones(5).to_sparse()):
        with pytest.raises(UsageError, match="tensor that numpy cannot read"):
            read_audio(source, sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize("shape", [(0,), (0, 1), (0, 2), (2, 0)])
def test_no_samples_of_any_shape_are_an_empty_waveform(shape):
    """A sound card that has nothing yet gives (0, C)."""
    assert read_audio(np.zeros(shape, np.float32), sample_rate_hz=RATE_HZ).shape == (0,)


@pytest.mark.parametrize("source", [object(), np.zeros(3, complex), np.zeros((2, 3, 4)), np.array(["a"])])
def test_what_is_no_audio_is_a_usage_error(source):
    with pytest.raises(UsageError):
        read_audio(source, sample_rate_hz=RATE_HZ)


def test_kaldi_archives_of_wavs_and_of_matrices(tmp_path):
    ark, scp = str(tmp_path / "a b.ark"), str(tmp_path / "a.scp")
    kaldiio.save_ark(ark, {"x": (RATE_HZ, INT16), "y": (RATE_HZ, INT16[:100])}, scp=scp)
    for line, expected in zip(lines_of(scp), [INT16, INT16[:100]]):
        got = read_audio(line.split(maxsplit=1)[1].strip(), sample_rate_hz=RATE_HZ)
        np.testing.assert_array_equal(got, (expected / 32768.0).astype(np.float32))
    kaldiio.save_ark(ark, {"x": INT16[None].astype(np.float32), "f": np.zeros((50, 80), np.float32)}, scp=scp)
    matrix, features = [line.split(maxsplit=1)[1].strip() for line in lines_of(scp)]
    np.testing.assert_allclose(read_audio(matrix, sample_rate_hz=RATE_HZ), INT16 / 32768.0, atol=1e-7)
    with pytest.raises(DataError, match="features"):
        read_audio(features, sample_rate_hz=RATE_HZ)


def test_an_archive_that_holds_a_pickle_is_not_loaded(tmp_path):
    ark = tmp_path / "evil.ark"
    kaldiio.save_ark(str(ark), {"x": np.zeros(3)}, write_function="pickle")
    with pytest.raises(DataError, match="neither audio nor"):
        read_audio(f"{ark}:2", sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.pcm"])
def test_segments(tmp_path, name):
    path = tmp_path / name
    if name == "a.pcm":
        path.write_bytes(INT16.tobytes())
    else:
        write(path, INT16)
    whole = read_audio(path, sample_rate_hz=RATE_HZ)
    part = read_audio(path, sample_rate_hz=RATE_HZ, start_s=0.25, end_s=0.5)
    np.testing.assert_array_equal(part, whole[4000:8000])
    np.testing.assert_array_equal(read_audio(path, sample_rate_hz=RATE_HZ, start_s=0.75), whole[12000:])
    # Kaldi's extract-segments lets a segment reach 0.5 s behind the end.
    assert len(read_audio(path, sample_rate_hz=RATE_HZ, start_s=0.75, end_s=1.4)) == 4000
    with pytest.raises(DataError, match="is outside the recording of 1.000 s"):
        read_audio(path, sample_rate_hz=RATE_HZ, start_s=0.75, end_s=1.6)


def test_pipes_run_only_when_allowed(tmp_path):
    path = write(tmp_path / "it's a.wav", INT16)
    marker = tmp_path / "ran"
    command = f"touch '{marker}'; cat \"{path}\" |"
    with pytest.raises(UnsafeFileError):
        read_audio(command, sample_rate_hz=RATE_HZ)
    assert not marker.exists()
    got = read_audio(command, sample_rate_hz=RATE_HZ, allow_pipes=True)
    np.testing.assert_array_equal(got, (INT16 / 32768.0).astype(np.float32))
    with pytest.raises(DataError, match="returned 3: no such thing"):
        read_audio("echo no such thing >&2; exit 3 |", sample_rate_hz=RATE_HZ, allow_pipes=True)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_a_command_ends_with_the_process_that_reads_it(tmp_path):
    number = tmp_path / "pid"
    command = f"echo $$ > {number}; exec sleep 300 |"
    code = f"from funrecipe.audio.io import read_audio; read_audio({command!r}, sample_rate_hz=16000, allow_pipes=True)"
    reader = subprocess.Popen([sys.executable, "-c", code])
    while not (number.exists() and number.read_text().strip()):
        assert reader.poll() is None
        time.sleep(0.05)
    reader.kill()
    reader.wait()
    for _ in range(100):
        if not Path(f"/proc/{number.read_text().strip()}/cmdline").exists():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the command still runs")


def test_a_wav_from_a_pipe_with_unknown_sizes_is_read(tmp_path):
    data = bytearray(Path(write(tmp_path / "a.wav", INT16)).read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    assert len(read_audio(bytes(data), sample_rate_hz=RATE_HZ)) == len(INT16)


def test_a_header_that_was_never_completed_does_not_pass_as_silence(tmp_path):
    data = bytearray(Path(write(tmp_path / "a.wav", INT16)).read_bytes())
    data[40:44] = bytes(4)
    with pytest.raises(DataError, match="recording was interrupted"):
        read_audio(bytes(data), sample_rate_hz=RATE_HZ)
    empty = bytes(data[:44]) + b"LIST" + struct.pack("<I", 4) + b"INFO"
    assert read_audio(empty, sample_rate_hz=RATE_HZ).shape == (0,)


def test_floats_in_integer_units_are_not_taken_for_audio():
    with pytest.raises(DataError, match="full scale is 1"):
        read_audio(INT16.astype(np.float32), sample_rate_hz=RATE_HZ)


FAULTS = {
    "zero bytes": b"",
    "cut off": None,
    "not finite": None,
    "No such file": None,
    "it is a folder, not a file": None,
    "corrupt": b"RIFF" + bytes(range(200)),
    "not audio: text": b"this is no audio at all, but somebody called it so",
}


@pytest.mark.parametrize("reason", FAULTS)
def test_faults_name_the_file_and_the_reason(tmp_path, reason):
    path = tmp_path / "bad.wav"
    if reason == "cut off":
        whole = Path(write(tmp_path / "good.wav", INT16)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif reason == "not finite":
        write(path, np.array([0.0, np.nan, 0.1], np.float32), "FLOAT")
    elif reason == "it is a folder, not a file":
        path.mkdir()
    elif FAULTS[reason] is not None:
        path.write_bytes(FAULTS[reason])
    with pytest.raises(DataError, match=reason) as caught:
        read_audio(path, sample_rate_hz=RATE_HZ)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg"])
def test_a_cut_off_or_damaged_compressed_file_is_refused(tmp_path, name):
    noise = (0.1 * np.random.default_rng(0).standard_normal(RATE_HZ)).astype(np.float32)
    whole = Path(write(tmp_path / name, noise, None)).read_bytes()
    (tmp_path / name).write_bytes(whole[:30])
    with pytest.raises(DataError):
        read_audio(tmp_path / name, sample_rate_hz=RATE_HZ)
    if name == "a.flac":
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError):
            read_audio(tmp_path / name, sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize("samples", [0, 1, 10])
def test_very_short_audio_is_audio(tmp_path, samples):
    path = write(tmp_path / "a.wav", INT16[:samples])
    assert read_audio(path, sample_rate_hz=RATE_HZ).shape == (samples,)
    assert read_audio(path, sample_rate_hz=8000).ndim == 1


def test_a_url_is_named_as_one():
    with pytest.raises(DataError, match="it is a URL, not a file: download it"):
        read_audio("https://example.com/a.wav", sample_rate_hz=16000)
