"""From recognized pieces to words with times, marks, sentences."""

from dataclasses import replace

from funrecipe.decode.hypothesis import Hypothesis
from funrecipe.punctuation.punctuator import Punctuated
from funrecipe.recordings.assemble import Recognized, assemble, marks_of_words
from funrecipe.recordings.piece_list import PieceTimes
from funrecipe.recordings.transcript import Word, written
from funrecipe.recordings.word_times import words_of


def piece(start_ms, end_ms, text, timestamp_ms=None, cut_ms=None):
    times = PieceTimes(start_ms, end_ms, start_ms, end_ms, cut_ms)
    return Recognized(times, Hypothesis(text.split(), text, -1.0, timestamp_ms))


class Marks:
    """Gives every word the mark of a table."""

    def __init__(self, table):
        self.table = table

    def punctuate(self, text, rules):
        words = text.split()
        marks = [self.table.get(word, "_") for word in words]
        return Punctuated("".join(w + (m if m != "_" else "") for w, m in zip(words, marks)), words, marks, [])


def test_words_get_the_times_of_their_tokens_in_the_recording():
    times = [[100, 200], [200, 300], [500, 700]]
    transcript = assemble("r", 9000, [piece(3000, 4000, "你 he@@ llo".replace("he@@ llo", "hello"), times[:2])])
    assert transcript.words == [Word("你", 3100, 3200), Word("hello", 3200, 3300)]
    assert transcript.has_word_times


def test_pieces_of_words_are_joined_with_their_times():
    spans = [[0, 100], [100, 200], [300, 400]]
    found = words_of("hello 你", ["he@@", "llo", "你"], spans, 1000, 2000)
    assert found == [Word("hello", 1000, 1200), Word("你", 1300, 1400)]


def test_without_times_words_are_spread_over_their_segment():
    transcript = assemble("r", 9000, [piece(1000, 2000, "你 好 ab cd")])
    spans = [(word.start_ms, word.end_ms) for word in transcript.words]
    assert spans == [(1000, 1167), (1167, 1333), (1333, 1667), (1667, 2000)]
    assert not transcript.has_word_times


def test_times_never_leave_the_piece_or_run_backwards():
    found = words_of("一 二 三", ["一", "二", "三"], [[-30, 100], [900, 1500], [700, 800]], 5000, 6000)
    assert [(word.start_ms, word.end_ms) for word in found] == [(5000, 5100), (5900, 6000), (5900, 5900)]


def test_another_number_of_times_than_tokens_is_not_an_error():
    found = words_of("一 二", ["一", "二"], [[0, 100], [200, 300], [400, 500]], 0, 1000)
    assert [word.text for word in found] == ["一", "二"]
    assert found[0].start_ms == 0 and found[1].end_ms == 500


def test_without_punctuation_a_segment_is_a_sentence():
    transcript = assemble("r", 9000, [piece(0, 1000, "你 好"), piece(2000, 3000, ""), piece(4000, 5000, "ok fine")])
    assert [sentence.text for sentence in transcript.sentences] == ["你好", "ok fine"]
    assert [(segment.start_ms, segment.end_ms) for segment in transcript.segments] == [
        (0, 1000),
        (2000, 3000),
        (4000, 5000),
    ]
    assert transcript.text == "你好 ok fine"


def test_every_mark_ends_a_sentence_across_segments():
    punctuator = Marks({"好": "，", "天": "。"})
    pieces = [piece(0, 1000, "你 好 今"), piece(2000, 3000, "天 是")]
    transcript = assemble("r", 9000, pieces, punctuator=punctuator)
    assert [sentence.text for sentence in transcript.sentences] == ["你好，", "今天。", "是"]
    assert (transcript.sentences[1].start_ms, transcript.sentences[1].end_ms) == (667, 2500)
    assert transcript.text == "你好，今天。是"


def test_marks_of_english_are_half_width():
    transcript = assemble("r", 9000, [piece(0, 1000, "hello there")], punctuator=Marks({"hello": "，", "there": "。"}))
    assert [sentence.text for sentence in transcript.sentences] == ["hello,", "there."]


def test_speakers_are_asked_for_the_times_of_the_sentences():
    asked = []

    def speakers_of(spans):
        asked.extend(spans)
        return [1, 0]

    pieces = [piece(0, 1000, "你 好"), piece(4000, 5000, "再 见")]
    transcript = assemble("r", 9000, pieces, speakers_of=speakers_of)
    assert asked == [(0, 1000), (4000, 5000)]
    assert [sentence.speaker for sentence in transcript.sentences] == [1, 0]


def test_overlapping_pieces_say_everything_once():
    first = piece(0, 10_500, "一 二 三 四", [[0, 200], [3000, 3200], [9300, 9500], [10_100, 10_300]])
    second = piece(9500, 20_000, "四 五", [[550, 750], [3000, 3200]], cut_ms=10_000)
    transcript = assemble("r", 20_000, [first, second])
    assert [word.text for word in transcript.words] == ["一", "二", "三", "四", "五"]
    starts = [word.start_ms for word in transcript.words]
    assert starts == sorted(starts)


def test_a_recording_without_speech():
    transcript = assemble("r", 9000, [], punctuator=Marks({}))
    assert (transcript.text, transcript.words, transcript.sentences) == ("", [], ())


def test_marks_find_their_words_however_these_were_cut():
    marks = marks_of_words(["今", "天", "hello", "é", "好"], ["今天", "hello", "é", "好"], ["，", "_", "？", "。"])
    assert marks == ["", "，", "", "？", "。"]
    assert marks_of_words(["été"], ["é", "t", "é"], ["，", "_", "。"]) == ["。"]
    assert marks_of_words([], [], []) == []


def test_blanks_are_where_readers_want_them():
    def text(*words):
        return written([Word(word, 0, 0, mark) for word, mark in words])

    assert text(("今", ""), ("天", "，"), ("好", "。")) == "今天，好。"
    assert text(("hello", ","), ("world", "")) == "hello, world"
    assert text(("说", ""), ("hello", ""), ("吧", "")) == "说 hello 吧"
    assert text(("三", ""), ("5", ""), ("个", "")) == "三5个"


def test_tokens_of_overlapping_pieces_are_joined_as_their_words():
    first, second = piece(0, 8000, "a@@ b 北 京 天"), piece(4000, 12000, "京 天 气 好", cut_ms=6000)
    joined = assemble("r", 12000, [first._replace(heard=replace(first.heard, text="ab 北 京 天")), second])
    assert [word.text for word in joined.words] == ["ab", "北", "京", "天", "气", "好"]
    assert [" ".join(segment.tokens) for segment in joined.segments] == ["a@@ b 北 京", "天 气 好"]
