"""Where long audio is cut: in pauses, without losing speech; where there is none, with an overlap."""

import numpy as np
import pytest

from funrecipe.recordings.cutting import Part, background, cut, levels

RATE_HZ = 8000


def speech(seconds, seed=0, level=0.1):
    """Noise whose loudness moves as syllables do, four a second, never silent for longer than 0.1 s."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    loudness = 0.35 + 0.65 * np.sin(np.pi * 4 * time) ** 2
    return (level * loudness * np.random.default_rng(seed).standard_normal(len(time))).astype(np.float32)


def quiet(seconds, level, seed=1):
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.0, 0.003, 7.0, 30.0])
def test_short_audio_is_one_piece(seconds):
    wave = speech(seconds)
    assert cut(wave, RATE_HZ, 30.0) == [Part(0, len(wave))]


@pytest.mark.parametrize("level", [0.0, 1e-4, 1e-3])
@pytest.mark.parametrize("pause_s", [0.6, 5.0])
def test_cuts_are_in_pauses_and_lose_no_speech(level, pause_s):
    parts, spoken, at = [], [], 0
    for number, seconds in enumerate([4.0, 9.0, 2.5, 14.0, 6.0, 8.0, 3.0]):
        for part in (quiet(pause_s, level, number), speech(seconds, number)):
            at += len(part)
            parts.append(part)
        spoken.append((at - len(part), at))
    pieces = cut(np.concatenate([*parts, quiet(pause_s, level)]), RATE_HZ, 20.0)
    assert all(piece.overlap == 0 for piece in pieces)
    assert all(piece.end - piece.start <= 20 * RATE_HZ for piece in pieces)
    for begin, end in spoken:
        assert sum(piece.start <= begin and end <= piece.end for piece in pieces) == 1
    left_out = at + round(pause_s * RATE_HZ) - sum(piece.end - piece.start for piece in pieces)
    assert left_out > 8 * (pause_s - 0.5) * RATE_HZ  # of 0.25 s at most on both sides of a pause


def test_speech_without_a_pause_is_cut_where_it_is_quietest_and_overlaps():
    wave = speech(70.0)
    dip = round(24.0 * RATE_HZ)
    wave[dip - 400 : dip + 400] *= 0.1
    pieces = cut(wave, RATE_HZ, 30.0)
    assert pieces[0].start == 0 and pieces[-1].end == len(wave)
    for before, after in zip(pieces, pieces[1:]):
        assert before.end - after.start == after.overlap == 4 * RATE_HZ
        assert before.end - before.start <= 30 * RATE_HZ
    middle = (pieces[0].end + pieces[1].start) / 2
    assert abs(middle - dip) <= 0.15 * RATE_HZ


def test_a_small_limit_holds():
    pieces = cut(speech(9.0), RATE_HZ, 1.0)
    assert all(0 < piece.end - piece.start <= RATE_HZ for piece in pieces)
    assert pieces[0].start == 0 and pieces[-1].end == 9 * RATE_HZ
    assert all(after.start <= before.end for before, after in zip(pieces, pieces[1:]))


def test_digital_silence_has_no_piece():
    assert cut(quiet(65.0, 0.0), RATE_HZ, 30.0) == []


def test_a_recording_of_one_level_is_kept_whole():
    """Noise without end: nothing says that it is not speech."""
    pieces = cut(quiet(65.0, 1e-4), RATE_HZ, 30.0)
    assert pieces[0].start == 0 and pieces[-1].end == 65 * RATE_HZ
    assert all(after.start == before.end - after.overlap for before, after in zip(pieces, pieces[1:]))


def test_a_quiet_speaker_is_not_taken_for_background():
    """18 dB below the loud one, over a room that is 26 dB below the quiet one."""
    room = quiet(60.0, 6e-4)
    room[10 * RATE_HZ : 30 * RATE_HZ] += speech(20.0, 1, 0.1)
    room[35 * RATE_HZ : 50 * RATE_HZ] += speech(15.0, 2, 0.0126)
    pieces = cut(room, RATE_HZ, 25.0)
    assert any(piece.start <= 35 * RATE_HZ and piece.end >= 50 * RATE_HZ for piece in pieces)


@pytest.mark.parametrize("level", [0.0, 1e-4, 1e-3])
def test_a_long_silence_has_no_piece(level):
    wave = np.concatenate([speech(10.0), quiet(100.0, level), speech(10.0, 2)])
    pieces = cut(wave, RATE_HZ, 30.0)
    assert sum(piece.end - piece.start for piece in pieces) <= 21 * RATE_HZ


def test_levels_are_those_of_the_samples():
    wave = np.concatenate([np.full(800, 0.1), np.full(840, 0.01)]).astype(np.float32)
    measured = levels(wave, 80)
    assert measured.shape == (21,)
    assert measured[0] == pytest.approx(-20.0, abs=0.01) and measured[-1] == pytest.approx(-40.0, abs=0.01)
    assert levels(np.zeros(801, np.float32), 80).tolist() == [-100.0] * 11


def test_background_wants_a_range_of_levels():
    assert not background(np.full(500, -30.0), -30.0).any()
    steps = np.where(np.arange(3000) % 100 < 50, -20.0, -60.0)
    assert np.array_equal(background(steps, -20.0), steps == -60.0)
