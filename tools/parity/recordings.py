"""Case ``e2e_vad_asr_punc_spk``: the chain of FunASR 1.4.16 from a recording to sentences with speakers.

The released VAD cuts the recording; what the case's recognizer heard in each segment is taken from the case, so that
the rules of joining, punctuation and sentences are checked independently of our recognizer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funrecipe.audio.io import read_audio
from funrecipe.decode.hypothesis import Hypothesis
from funrecipe.model_folder import open_model_folder
from funrecipe.punctuation.punctuator import load_punctuator
from funrecipe.recordings.assemble import Recognized, assemble
from funrecipe.recordings.piece_list import PieceTimes
from funrecipe.recordings.transcript import HALF_WIDTH, RecordingTranscript
from funrecipe.recordings.vad_pieces import VadCutter
from funrecipe.vad.detector import load_detector
from tools.parity.case import Case

MODEL = "data/models/fsmn-vad-16k"
BLOCK = 7919  # samples that come at once, an odd number
SPEAKERS = "the speaker cases hold it"


def pieces_of(case: Case, calls: list[dict[str, Any]]) -> tuple[list[Recognized], int]:
    """The segments of the recording with what the recognizer of the case said of each, and the duration in ms."""
    waveform = read_audio(case.data_root / MODEL / "vad_example.wav", sample_rate_hz=16000)
    start, count = int(case.inputs["start_sample"][0]), int(case.inputs["n_samples"][0])
    part = waveform[start : start + count]
    detector = load_detector(open_model_folder(case.data_root / MODEL))
    case.compare("vad_segments_ms", np.asarray(detector.segments(part)))
    cutter = VadCutter(detector, 60.0, pad_ms=0)
    pieces = list(cutter.cut(part[i : i + BLOCK] for i in range(0, count, BLOCK)))
    case.compare_values(
        "(pieces)", [[p.start_ms, p.end_ms] for p in pieces], case.json("expected.json")["vad"]["segments"]
    )
    by_length = {len(piece.samples): piece for piece in pieces}
    lengths = [n for call in case.json("expected.json")["asr_vad"]["segment_samples_per_asr_call"] for n in call]
    case.compare_values("(samples of the pieces)", sorted(by_length), sorted(lengths))
    heard = []
    for length, call in zip(lengths, calls, strict=True):
        piece = by_length[length]
        times = PieceTimes(piece.start_ms, piece.end_ms, piece.start_ms, piece.end_ms)
        heard.append(Recognized(times, Hypothesis(call["text"].split(), call["text"], 0.0, call["timestamp"])))
    return sorted(heard, key=lambda r: r.piece.start_ms), round(count / 16)


def check_sentences(case: Case, transcript: RecordingTranscript, expected: list[dict[str, Any]]) -> None:
    for i, (ours, theirs) in enumerate(zip(transcript.sentences, expected, strict=True)):
        text = "".join(HALF_WIDTH.get(c, c) for c in theirs["text"].strip())
        case.compare_values(f"(sentence {i})", "".join(HALF_WIDTH.get(c, c) for c in ours.text), text)
        case.compare_values(f"(sentence {i}: times)", [[w.start_ms, w.end_ms] for w in ours.words], theirs["timestamp"])


def check_chain(case: Case) -> None:
    expected = case.json("expected.json")
    calls = [result for call in expected["asr_vad"]["asr_calls"] for result in call]
    pieces, duration_ms = pieces_of(case, calls)
    plain = assemble("r", duration_ms, pieces)
    (result,) = expected["asr_vad"]["result"]
    case.compare_values("(words)", " ".join(word.text for word in plain.words), result["text"])
    case.compare_values("(times)", [[word.start_ms, word.end_ms] for word in plain.words], result["timestamp"])
    punctuator = load_punctuator(open_model_folder(case.path / "punc"))
    marked = assemble("r", duration_ms, pieces, punctuator=punctuator, text_rules="1.4")
    case.compare_values("(punctuated text)", marked.text, expected["asr_vad_punc"]["result"][0]["text"].strip())
    found = punctuator.punctuate(" ".join(word.text for word in plain.words), "1.4")
    case.compare_values("(marks)", found.mark_ids, expected["punc_ids"])
    check_sentences(case, marked, expected["sentence_info_right"]["sentences"])
    for key in ("windows_s", "spk_embedding", "window_labels"):
        if key in case.expected:
            case.covered(key, SPEAKERS)


CASES = {"e2e_vad_asr_punc_spk": check_chain}
