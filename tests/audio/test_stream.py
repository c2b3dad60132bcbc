"""Audio in blocks is the audio as a whole, from files of every kind, and memory does not hold all of it."""

import numpy as np
import pytest
import soundfile

from funrecipe.audio.io import read_audio, stream_audio
from funrecipe.errors import DataError, UnsafeFileError

RATE_HZ = 16000
WAVE = (np.random.default_rng(0).normal(0, 0.1, 40 * RATE_HZ).cumsum() % 0.5 - 0.25).astype(np.float32)


def write(path, rate_hz=RATE_HZ, **options):
    soundfile.write(path, WAVE, rate_hz, **options)
    return str(path)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_blocks_of_a_file_are_the_file(tmp_path, name):
    path = write(tmp_path / name)
    blocks = list(stream_audio(path, sample_rate_hz=RATE_HZ))
    assert len(blocks) > 2
    np.testing.assert_array_equal(np.concatenate(blocks), read_audio(path, sample_rate_hz=RATE_HZ))


@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000])
def test_resampling_leaves_no_trace_of_the_blocks(tmp_path, rate_hz):
    path = write(tmp_path / "a.wav", rate_hz)
    streamed = np.concatenate(list(stream_audio(path, sample_rate_hz=RATE_HZ)))
    whole = read_audio(path, sample_rate_hz=RATE_HZ)
    assert abs(len(streamed) - len(whole)) <= 1
    np.testing.assert_allclose(streamed[: len(whole)], whole[: len(streamed)], atol=1e-5)


def test_raw_samples_by_name(tmp_path):
    samples = (WAVE * 32767).astype("<i2")
    samples.tofile(tmp_path / "a.pcm")
    blocks = list(stream_audio(str(tmp_path / "a.pcm"), sample_rate_hz=RATE_HZ, audio_fs=RATE_HZ))
    assert len(blocks) > 2
    np.testing.assert_array_equal(np.concatenate(blocks), samples / np.float32(32768))


def test_another_channel(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([WAVE, -WAVE], axis=1), RATE_HZ, subtype="FLOAT")
    streamed = np.concatenate(list(stream_audio(str(tmp_path / "a.wav"), sample_rate_hz=RATE_HZ, channel=2)))
    np.testing.assert_array_equal(streamed, -WAVE)


def test_other_sources_come_as_one_block():
    (block,) = stream_audio(WAVE, sample_rate_hz=RATE_HZ)
    np.testing.assert_array_equal(block, WAVE)


def test_a_file_that_is_cut_off_is_an_error(tmp_path):
    path = write(tmp_path / "a.wav")
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="cannot read audio: .*cut off"):
        list(stream_audio(path, sample_rate_hz=RATE_HZ))


@pytest.mark.parametrize("content", [b"", b"hello world, this is text"])
def test_what_is_not_audio_is_an_error(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(DataError, match="cannot read audio"):
        list(stream_audio(str(tmp_path / "a.wav"), sample_rate_hz=RATE_HZ))


def test_commands_run_only_where_allowed():
    with pytest.raises(UnsafeFileError):
        list(stream_audio("cat a.wav |", sample_rate_hz=RATE_HZ))
