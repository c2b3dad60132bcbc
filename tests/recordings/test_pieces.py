"""Recordings are cut without losing a sample, and joined without saying anything twice."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.audio.io import read_audio
from funrecipe.data.kaldi_dir import Utterance
from funrecipe.errors import IncompleteRunError, UsageError
from funrecipe.jobs.publish_recordings import publish_recordings
from funrecipe.model_folder import open_model_folder
from funrecipe.recordings.cutting import QuietCutter
from funrecipe.recordings.joining import join_words
from funrecipe.recordings.merging import Merger, Span, chosen_length_s
from funrecipe.recordings.piece_list import CutRecording, read_piece_dir, write_piece_dir
from funrecipe.recordings.transcript import Word
from funrecipe.recordings.vad_pieces import VadCutter
from funrecipe.vad.detector import load_detector

ROOT = Path(__file__).parents[2]
RATE_HZ = 1000  # keeps the arrays of these tests small


def noise_with_pauses(seconds, pauses_s, seed=0):
    samples = np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE_HZ)).astype(np.float32)
    for pause_s in pauses_s:
        samples[int((pause_s - 0.2) * RATE_HZ) : int((pause_s + 0.2) * RATE_HZ)] *= 1e-3
    return samples


def blocks_of(samples, sizes):
    start, number = 0, 0
    while start < len(samples):
        yield samples[start : start + sizes[number % len(sizes)]]
        start += sizes[number % len(sizes)]
        number += 1


def test_a_cut_is_where_it_is_quietest():
    pieces = list(QuietCutter(RATE_HZ, 10).cut([noise_with_pauses(16, [7.0])]))
    assert [piece.cut_ms for piece in pieces][0] is None
    assert abs(pieces[1].cut_ms - 7000) <= 110
    assert pieces[1].start_ms == pieces[1].cut_ms - 1250
    assert pieces[0].end_ms == pieces[1].cut_ms + 1250


def pieces_in_any_blocks(samples, sizes, max_piece_s):
    cutter = QuietCutter(RATE_HZ, max_piece_s)
    pieces = list(cutter.cut(blocks_of(samples, sizes)))
    for ours, theirs in zip(pieces, cutter.cut([samples]), strict=True):
        assert (ours.start_ms, ours.end_ms, ours.cut_ms) == (theirs.start_ms, theirs.end_ms, theirs.cut_ms)
        np.testing.assert_array_equal(ours.samples, samples[ours.start_ms : ours.end_ms])
    assert all(len(piece.samples) <= max_piece_s * RATE_HZ for piece in pieces)
    return pieces


@settings(max_examples=20, deadline=None)
@given(
    utterances_s=st.lists(st.tuples(st.floats(4, 14), st.floats(0.8, 40)), min_size=1, max_size=4),
    level=st.sampled_from([0.0, 1e-4, 1e-3]),
    sizes=st.lists(st.integers(700, 9000), min_size=1, max_size=4),
    max_piece_s=st.floats(4, 12),
    seed=st.integers(0, 99),
)
def test_long_pauses_are_left_out_and_speech_never_is(utterances_s, level, sizes, max_piece_s, seed):
    chooser = np.random.default_rng(seed)
    parts, spoken = [], np.zeros(0, bool)
    for speech_s, pause_s in utterances_s:
        parts.append(chooser.normal(0, 0.1, int(speech_s * RATE_HZ)))
        parts.append(chooser.normal(0, level, int(pause_s * RATE_HZ)))
        spoken = np.concatenate([spoken, np.ones(len(parts[-2]), bool), np.zeros(len(parts[-1]), bool)])
    samples = np.concatenate(parts).astype(np.float32)
    pieces = pieces_in_any_blocks(samples, sizes, max_piece_s)
    heard = np.zeros(len(samples), bool)
    for before, piece in zip([None, *pieces], pieces):
        assert (piece.cut_ms is not None) == heard[piece.start_ms : piece.end_ms].any()
        assert piece.cut_ms is None or piece.start_ms < piece.cut_ms < before.end_ms
        heard[piece.start_ms : piece.end_ms] = True
    assert heard[spoken].all()
    if len(samples) > max_piece_s * RATE_HZ:
        assert (heard & ~spoken).sum() <= 700 * (len(utterances_s) + 1)


def test_a_recording_of_digital_silence_has_no_pieces():
    for seconds in (0.5, 9, 200):
        assert list(QuietCutter(RATE_HZ, 10).cut([np.zeros(int(seconds * RATE_HZ), np.float32)])) == []


@settings(max_examples=40, deadline=None)
@given(
    seconds=st.floats(0, 45),
    sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=4),
    max_piece_s=st.floats(4, 12),
    seed=st.integers(0, 99),
)
def test_pieces_cover_speech_without_a_pause_and_do_not_depend_on_blocks(seconds, sizes, max_piece_s, seed):
    samples = noise_with_pauses(seconds, [], seed)
    pieces = pieces_in_any_blocks(samples, sizes, max_piece_s)
    reached = 0
    for piece in pieces:
        assert piece.start_ms <= reached < piece.end_ms
        reached = piece.end_ms
    assert reached == len(samples)


def test_pieces_too_short_for_their_overlap_are_refused():
    with pytest.raises(UsageError, match="give at least 4 seconds"):
        QuietCutter(RATE_HZ, 3)


def test_a_recording_that_failed_is_not_forgotten_for_its_path(tmp_path):
    odd = [Utterance(key, f"{tmp_path}/a\tb\u2028{key}.wav", recording_id=key) for key in ("x", "y")]
    write_piece_dir(tmp_path / "pieces", odd, [CutRecording("x", 1000), CutRecording("y", error="not audio")])
    recordings, failed = read_piece_dir(tmp_path / "pieces")
    assert list(recordings) == ["x"] and failed == {"y": "not audio"}


def test_recordings_that_fail_take_away_what_an_earlier_run_published(tmp_path):
    for name in ("1best_recog/text", "report.html", "transcripts/b.srt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("earlier")
    failed = [CutRecording("a", error="not audio")]
    with pytest.raises(IncompleteRunError, match="1 of 1 recordings failed"):
        publish_recordings(failed, piece_dir=tmp_path, piece_results=tmp_path, output_dir=tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "transcripts.earlier/b.srt"]


def words(text, start_ms, step_ms=200):
    return [Word(w, start_ms + i * step_ms, start_ms + (i + 1) * step_ms) for i, w in enumerate(text)]


@pytest.mark.parametrize(
    ("before", "after", "joined"),
    [
        ("今天天气很好", "很好我们", "今天天气很好我们"),  # both agree on 很好
        ("今天天气很号", "气很好我们", "今天天气很好我们"),  # they agree on 气很
        ("今天呢", "啊我们", "今天我们"),  # they do not agree: before the cut the one, after it the other
    ],
)
def test_two_pieces_are_joined_where_they_agree(before, after, joined):
    cut_ms = 10_000
    first = words(before, cut_ms + 200 - 200 * len(before))
    second = words(after, cut_ms - 200)
    kept, added = join_words(first, second, cut_ms)
    assert "".join(word.text for word in [*kept, *added]) == joined


def test_words_far_from_the_cut_are_never_joined():
    first, second = words("一二三四五六七八九十", 0), words("一二三四五六七八九十", 8000)
    kept, added = join_words(first, second, 5000)
    assert [word.text for word in [*kept, *added]] == list("一二三四五六七八九十" * 2)


@pytest.fixture(scope="module")
def detector():
    return load_detector(open_model_folder(ROOT / "egs" / "quickstart" / "vad"))


@pytest.fixture(scope="module")
def recording():
    return read_audio(ROOT / "tests" / "data" / "vad" / "vad_example.flac", sample_rate_hz=16000, end_s=40.0)


@pytest.mark.parametrize("sizes", [[640_000], [16_000, 7919]], ids=str)
@pytest.mark.parametrize("pad_ms", [0, 100])
def test_pieces_of_a_vad_are_its_segments_with_their_samples(detector, recording, sizes, pad_ms):
    pieces = list(VadCutter(detector, 60, pad_ms=pad_ms).cut(blocks_of(recording, sizes)))
    assert [[piece.start_ms, piece.end_ms] for piece in pieces] == detector.segments(recording)
    for piece in pieces:
        start = piece.heard_from_ms * 16
        assert 0 <= piece.start_ms - piece.heard_from_ms <= pad_ms
        assert len(piece.samples) >= min((piece.end_ms - piece.heard_from_ms) * 16, len(recording) - start)
        np.testing.assert_array_equal(piece.samples, recording[start : start + len(piece.samples)])


def test_a_segment_that_is_too_long_is_cut_where_it_is_quiet(detector, recording):
    pieces = list(VadCutter(detector, 8).cut([recording]))
    assert all(len(piece.samples) <= 8 * 16000 for piece in pieces)
    inside = [piece for piece in pieces if 6480 <= piece.start_ms < 23670]  # a segment of 17 s
    assert [piece.cut_ms is None for piece in inside] == [True] + [False] * (len(inside) - 1)
    assert (inside[0].start_ms, inside[-1].end_ms) == (6480, 23670)


def test_silence_has_no_pieces(detector):
    assert list(VadCutter(detector, 30).cut([np.zeros(48000, np.float32)])) == []
    assert list(VadCutter(detector, 30).cut([])) == []


def merged_as_in_funasr(segments, longest_ms):
    """Where groups begin and end there (restated), each without the silence at its ends."""
    boundaries = sorted({ms for segment in segments for ms in segment})
    groups, began = [], 0
    for here, following in zip(boundaries, boundaries[1:]):
        if following - began >= longest_ms:
            groups.append((began, here))
            began = here
    groups.append((began, boundaries[-1]))
    inside = [[s for s in segments if start <= s[0] and s[1] <= end] for start, end in groups]
    return [(within[0][0], within[-1][1]) for within in inside if within]


@given(
    steps_ms=st.lists(
        st.tuples(st.integers(0, 30_000), st.integers(1, 30_000), st.booleans()), min_size=1, max_size=12
    ),
    longest_ms=st.sampled_from([1000, 15_000, 20_000]),
)
def test_segments_are_merged_in_the_groups_of_funasr(steps_ms, longest_ms):
    merger, segments, merged, at = Merger(longest_ms), [], [], 0
    for pause_ms, length_ms, is_waited_for in steps_ms:
        start_ms, at = at + pause_ms, at + pause_ms + length_ms
        segments.append((start_ms, at))
        merged += merger.wait(start_ms) if is_waited_for else []
        merged += merger.add(Span(start_ms, at, at))
    merged += merger.wait(None)
    assert [(span.start_ms, span.end_ms) for span in merged] == merged_as_in_funasr(segments, longest_ms)


def test_pieces_of_merged_segments_hold_what_is_between_them(detector, recording):
    segments = [tuple(segment) for segment in detector.segments(recording)]
    expected = merged_as_in_funasr(segments, 15_000)
    assert 1 < len(expected) < len(segments)
    pieces = list(VadCutter(detector, 60, merge_s=15.0).cut(blocks_of(recording, [160_000, 79_190])))
    assert [(piece.start_ms, piece.end_ms) for piece in pieces] == expected
    for piece in pieces:
        start = piece.heard_from_ms * 16
        assert len(piece.samples) >= min((piece.end_ms - piece.heard_from_ms) * 16, len(recording) - start)
        np.testing.assert_array_equal(piece.samples, recording[start : start + len(piece.samples)])


def test_options_of_merging_without_effect_are_refused():
    assert chosen_length_s(None, None, has_vad=False) == chosen_length_s(False, None, has_vad=True) == 0
    assert (chosen_length_s(True, None, has_vad=True), chosen_length_s(True, 8, has_vad=True)) == (15, 8)
    for arguments, message in (
        ((True, None, False), "merge_vad has no effect without a VAD model"),
        ((False, 8.0, True), "merge_length_s has no effect without merge_vad"),
        ((True, 0.0, True), "merge_length_s is 0.0"),
    ):
        with pytest.raises(UsageError, match=message):
            chosen_length_s(*arguments[:2], has_vad=arguments[2])
