"""Every format is read back by a reader that was written from the format's own description."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.errors import UsageError
from funrecipe.recordings import formats
from funrecipe.recordings.transcript import RecordingTranscript, Segment, Sentence, Word

WORDS = (
    Word("今天", 61_000, 61_400),
    Word("好", 61_400, 61_800, "。"),
    Word("say", 3_725_250, 3_725_500),
    Word('"hi"', 3_725_500, 3_726_001, "。"),
)
TRANSCRIPT = RecordingTranscript(
    "talk",
    3_800_000,
    (Segment(60_900, 61_900, WORDS[:2]), Segment(3_725_000, 3_726_100, WORDS[2:])),
    (Sentence(WORDS[:2], 0), Sentence(WORDS[2:], 1)),
    '今天好。say "hi"。',
    has_punctuation=True,
)
SPANS = [(61.0, 61.8), (3725.25, 3726.001)]


def read_srt(text):
    blocks = [block.split("\n") for block in text.strip("\n").split("\n\n")] if text else []
    cues = []
    for number, (index, times, *lines) in enumerate(blocks, 1):
        assert int(index) == number
        a, b = (re.fullmatch(r"(\d\d):([0-5]\d):([0-5]\d),(\d{3})", part).groups() for part in times.split(" --> "))
        cues.append((*(int(h) * 3600 + int(m) * 60 + int(s) + int(ms) / 1000 for h, m, s, ms in (a, b)), lines))
    return cues


def read_vtt(text):
    header, *blocks = text.rstrip("\n").split("\n\n")
    assert header == "WEBVTT"
    cues = []
    for block in blocks:
        times, line = block.split("\n")
        a, b = (re.fullmatch(r"(\d\d):([0-5]\d):([0-5]\d\.\d{3})", part).groups() for part in times.split(" --> "))
        cues.append((*(int(h) * 3600 + int(m) * 60 + float(s) for h, m, s in (a, b)), line))
    return cues


def read_textgrid(text):
    """Praat reads numbers and quoted strings and takes everything else for comments."""
    found = re.findall(r'"((?:[^"]|"")*)"|(?<!\S)(\d+(?:\.\d+)?)(?!\S)|(<exists>)', text)
    values = iter([float(n) if n else s.replace('""', '"') for s, n, flag in found if not flag])
    assert [next(values), next(values)] == ["ooTextFile", "TextGrid"]
    xmin, xmax, size = next(values), next(values), int(next(values))
    tiers = {}
    for _ in range(size):
        assert next(values) == "IntervalTier"
        name = next(values)
        assert [next(values), next(values)] == [xmin, xmax]
        tiers[name] = [(next(values), next(values), next(values)) for _ in range(int(next(values)))]
        edges = [edge for start, end, _ in tiers[name] for edge in (start, end)]
        assert edges[0] == xmin and edges[-1] == xmax and edges == sorted(edges)
        assert all(a == b for a, b in zip(edges[1::2], edges[2::2]))
    assert next(values, None) is None
    return tiers


def read_ctm(text):
    rows = [line.split(" ") for line in text.splitlines()]
    return [(name, float(start), float(duration), word) for name, _, start, duration, word in rows]


def read_rttm(text):
    rows = [line.split(" ") for line in text.splitlines()]
    assert all(len(row) == 10 and row[0] == "SPEAKER" and row[2] == "1" for row in rows)
    return [(row[1], float(row[3]), float(row[4]), row[7]) for row in rows]


def test_srt():
    cues = read_srt(formats.as_srt(TRANSCRIPT))
    assert [cue[:2] for cue in cues] == SPANS
    assert [cue[2] for cue in cues] == [["[speaker 1] 今天好。"], ['[speaker 2] say "hi"。']]


def test_vtt():
    cues = read_vtt(formats.as_vtt(TRANSCRIPT))
    assert [cue[:2] for cue in cues] == SPANS
    assert [cue[2] for cue in cues] == ["<v Speaker 1>今天好。", '<v Speaker 2>say "hi"。']


def test_textgrid():
    tiers = read_textgrid(formats.as_textgrid(TRANSCRIPT))
    assert [interval for interval in tiers["words"] if interval[2]] == [
        (word.start_ms / 1000, word.end_ms / 1000, word.text) for word in WORDS
    ]
    assert [(a, b) for a, b, text in tiers["sentences"] if text] == SPANS


def test_ctm():
    assert read_ctm(formats.as_ctm(TRANSCRIPT)) == [
        ("talk", 61.0, 0.4, "今天"),
        ("talk", 61.4, 0.4, "好"),
        ("talk", 3725.25, 0.25, "say"),
        ("talk", 3725.5, 0.501, '"hi"'),
    ]


def test_rttm_of_speakers_and_of_speech():
    assert read_rttm(formats.as_rttm(TRANSCRIPT)) == [
        ("talk", 61.0, 0.8, "speaker1"),
        ("talk", 3725.25, 0.751, "speaker2"),
    ]
    nobody = RecordingTranscript("a b", 9000, TRANSCRIPT.segments, (Sentence(WORDS[:2]),), "")
    assert read_rttm(formats.as_rttm(nobody)) == [("a_b", 60.9, 1.0, "speech"), ("a_b", 3725.0, 1.1, "speech")]


def test_json():
    content = json.loads(formats.as_json(TRANSCRIPT))
    assert (content["key"], content["duration"], content["word_times"]) == ("talk", 3800.0, "spread")
    assert [(s["start"], s["end"], s["speaker"]) for s in content["sentences"]] == [(*SPANS[0], 0), (*SPANS[1], 1)]
    assert content["sentences"][0]["words"] == [["今天", 61.0, 61.4], ["好", 61.4, 61.8]]
    assert content["segments"][0] == {"start": 60.9, "end": 61.9, "text": "今天 好"}


def test_txt_has_a_line_per_sentence():
    assert formats.as_txt(TRANSCRIPT) == '[speaker 1] 今天好。\n[speaker 2] say "hi"。\n'


def test_text_cannot_break_a_format():
    evil = (Word("a-->b", 0, 100), Word("<b>&", 100, 200), Word('x"y', 200, 300))
    transcript = RecordingTranscript("k", 1000, (Segment(0, 300, evil),), (Sentence(evil),), "")
    assert read_srt(formats.as_srt(transcript))[0][2] == ['a->b <b>& x"y']
    assert read_vtt(formats.as_vtt(transcript))[0][2] == 'a-&gt;b &lt;b&gt;&amp; x"y'
    assert [t for _, _, t in read_textgrid(formats.as_textgrid(transcript))["words"] if t] == ["a-->b", "<b>&", 'x"y']


def test_long_sentences_become_several_cues_cut_at_a_pause():
    start, words = 0, []
    for i in range(60):
        start += 900 if i == 20 else 200
        words.append(Word("字", start, start + 150))
    transcript = RecordingTranscript("k", 20_000, (), (Sentence(tuple(words)),), "")
    cues = list(formats.cues(transcript))
    assert all(cue.end_ms - cue.start_ms <= formats.MAX_CUE_MS for cue in cues)
    assert len(cues[0].text) == 20
    assert sum(len(cue.text) for cue in cues) == 60


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 3000), st.booleans()), max_size=12))
def test_whatever_the_times_are_all_formats_can_be_read(spans):
    words = tuple(
        Word(f"w{i}", start, start + length, "。" if end else "") for i, (start, length, end) in enumerate(spans)
    )
    sentences, current = [], []
    for word in words:
        current.append(word)
        if word.mark:
            sentences.append(Sentence(tuple(current)))
            current = []
    if current:
        sentences.append(Sentence(tuple(current)))
    segments = (Segment(0, 5000, words),) if words else ()
    transcript = RecordingTranscript("k", 5000, segments, tuple(sentences), "", has_punctuation=True)
    cues = read_srt(formats.as_srt(transcript))
    assert [word for cue in cues for word in re.findall(r"w\d+", cue[2][0])] == [word.text for word in words]
    assert all(start < end for start, end, _ in cues)
    assert [cue[0] for cue in cues] == sorted(cue[0] for cue in cues)
    assert len(read_vtt(formats.as_vtt(transcript))) == len(cues)
    assert set(read_textgrid(formats.as_textgrid(transcript))) == {"sentences", "words"}
    assert len(read_ctm(formats.as_ctm(transcript))) == len(words)
    read_rttm(formats.as_rttm(transcript))


def test_formats_by_name(tmp_path):
    assert formats.parse_formats("srt, TXT,srt") == ["srt", "txt"]
    with pytest.raises(UsageError, match="did you mean 'srt'"):
        formats.parse_formats("txt,str")
    paths = formats.write_formats(TRANSCRIPT, tmp_path, list(formats.FORMATS))
    assert sorted(path.name for path in paths) == sorted(path.name for path in tmp_path.iterdir())
    assert {path.suffix for path in paths} == {".txt", ".json", ".srt", ".vtt", ".TextGrid", ".ctm", ".rttm"}
