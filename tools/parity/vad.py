"""Cases ``fsmn_vad`` (random weights) and ``fsmn_vad_real`` (the released ones): posteriors, segments, streams."""

from __future__ import annotations

import re

import numpy as np
import torch

from funrecipe.audio.io import read_audio
from funrecipe.model_folder import open_model_folder
from funrecipe.vad.detector import VoiceActivityDetector, join_events, load_detector
from tools.parity.case import Case

FEATS_TOLERANCE = 2e-3
POSTERIOR_TOLERANCE = 1e-5
SUM_TOLERANCE = 0.05
CUTS = (257, 7919, 48000)  # samples a step: other ways to cut the same recording


def stream_events(detector: VoiceActivityDetector, waveform: np.ndarray, piece: int) -> list[list[int]]:
    """``[step, begin, end]`` of every event when ``waveform (S,)`` comes in steps of ``piece`` samples."""
    state = detector.start()
    events = []
    for step, start in enumerate(range(0, len(waveform), piece)):
        is_final = start + piece >= len(waveform)
        fed = detector.feed(waveform[start : start + piece], state, is_final=is_final)
        events += [[step, *event] for event in fed]
    return events


def features(detector: VoiceActivityDetector, waveform: np.ndarray) -> torch.Tensor:
    return detector.frontend.feed(torch.from_numpy(waveform), detector.frontend.start(), True)


def check_recording(case: Case, detector: VoiceActivityDetector, waveform: np.ndarray, name: str) -> None:
    """Segments and events of one recording, whole and in pieces."""
    segments = detector.segments(waveform)
    case.compare(f"{name}.offline_segments_ms", np.asarray(segments).reshape(-1, 2))
    for key in case.expected:
        if match := re.fullmatch(rf"{name}\.online_(\d+)ms_events", key):
            piece = int(match[1]) * detector.sample_rate_hz // 1000
            case.compare(key, np.asarray(stream_events(detector, waveform, piece)).reshape(-1, 3))
    for piece in CUTS[len(waveform) > 200_000 :]:
        joined = join_events(event[1:] for event in stream_events(detector, waveform, piece))
        case.compare_values(f"({name}: segments in pieces of {piece} samples)", joined, segments)


def check_fsmn_vad(case: Case) -> None:
    detector = load_detector(open_model_folder(case.path))
    feats = torch.from_numpy(case.inputs["feats"])
    posteriors, memory = detector.network(feats)
    case.compare("posteriors", posteriors, POSTERIOR_TOLERANCE)
    streamed, past = [], None
    for start in range(0, feats.size(1), 37):
        out, past = detector.network(feats[:, start : start + 37], past)
        streamed.append(out)
    case.compare("posteriors_streamed_37", torch.cat(streamed, dim=1), POSTERIOR_TOLERANCE)
    for i, block in enumerate(memory):
        case.compare(f"cache.cache_layer_{i}", block.transpose(1, 2)[..., None], POSTERIOR_TOLERANCE)
    waveform = case.waveform("wav")
    whole = features(detector, waveform)
    case.compare("whole.feats_frame_sums", whole.sum(dim=1), SUM_TOLERANCE)
    case.compare("whole.posteriors", detector.network(whole[None])[0][0], POSTERIOR_TOLERANCE)
    check_recording(case, detector, waveform, "whole")


def check_fsmn_vad_real(case: Case) -> None:
    conf = case.yaml("config.yaml")
    detector = load_detector(open_model_folder(case.data_root / conf["model_dir"]))
    waveform = read_audio(case.data_root / conf["model_dir"] / conf["wav"], sample_rate_hz=detector.sample_rate_hz)
    units = np.round(waveform * 32768).astype(np.int64)
    case.compare("wav_samples_total", [len(units)])
    case.compare("wav_sum_int64", [units.sum()])
    start, count = int(case.inputs["start_sample"][0]), int(case.inputs["num_samples"][0])
    part = waveform[start : start + count]
    feats = features(detector, part)
    case.compare("feats_frame_sums", feats.sum(dim=1)[None], SUM_TOLERANCE)
    case.compare("feats_first3", feats[:3], FEATS_TOLERANCE)
    posteriors = detector.network(feats[None])[0][0]
    case.compare("silence_posterior", posteriors[:, 0], POSTERIOR_TOLERANCE)
    case.compare("posteriors_every_10th", posteriors[::10], POSTERIOR_TOLERANCE)
    check_recording(case, detector, part, "part")
    check_recording(case, detector, waveform, "whole")


CASES = {"fsmn_vad": check_fsmn_vad, "fsmn_vad_real": check_fsmn_vad_real}
