"""How segments are made of frames: ``vad_post_conf`` of the model folder, overridden call by call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from funrecipe.errors import UsageError, unknown_name
from funrecipe.model_folder import ModelFolder
from funrecipe.ranges import ANY, AT_LEAST_ONE, COUNT, Range

SINGLE_UTTERANCE, MANY_UTTERANCES = 0, 1
# What FunASR's configurations hold and its detector does not read, or reads to no effect.
WITHOUT_EFFECT = frozenset(
    {
        "sample_rate",
        "snr_mode",
        "do_start_point_detection",
        "do_end_point_detection",
        "fe_prior_thres",
        "speech_noise_thresh_low",
        "speech_noise_thresh_high",
        "output_frame_probs",
        "nn_eval_block_size",
        "dcd_block_size",
    }
)
CALL_NAMES = {"max_end_sil": "max_end_silence_time"}  # what a call of FunASR's streaming pipeline says


@dataclass(frozen=True)
class VadOptions:
    """Options of the detector, with the names and defaults of FunASR; times in ms.

    Attributes:
        detect_mode: 1: all utterances of the recording; 0: stop after the first, or after a long silence before it.
        max_end_silence_time: this much silence, counted from when the last word began to fade, ends a segment.
        max_start_silence_time: this much silence at the start ends the detection (``detect_mode`` 0 only).
        window_size_ms: frames are smoothed over this window.
        sil_to_speech_time_thres: this much speech in the window starts speech.
        speech_to_sil_time_thres: as little speech as this in the window ends it.
        speech_2_noise_ratio: exponent of the silence probability: above 1 more frames are speech.
        speech_noise_thres: by how much speech must be more probable than silence, -1 to 1.
        do_extend: whether segments are extended by the next two.
        lookback_time_start_point, lookahead_time_end_point: how far, before and after.
        max_single_segment_time: longer segments are cut here.
        snr_thres: speech is at least this many dB above the average of the frames that are not.
        noise_frame_num_used_for_snr: how slowly that average moves.
        decibel_thres: quieter frames are silence (sum of squares in a frame of samples in [-1, 1], in dB).
        silence_pdf_num, sil_pdf_ids: the network's classes that are silence, and how many those are.
        frame_in_ms, frame_length_ms: from one frame to the next; length of a frame.
    """

    detect_mode: int = MANY_UTTERANCES
    max_end_silence_time: int = 800
    max_start_silence_time: int = 3000
    window_size_ms: int = 200
    sil_to_speech_time_thres: int = 150
    speech_to_sil_time_thres: int = 150
    speech_2_noise_ratio: float = 1.0
    speech_noise_thres: float = 0.6
    do_extend: int = 1
    lookback_time_start_point: int = 200
    lookahead_time_end_point: int = 100
    max_single_segment_time: int = 60000
    snr_thres: float = -100.0
    noise_frame_num_used_for_snr: int = 100
    decibel_thres: float = -100.0
    silence_pdf_num: int = 1
    sil_pdf_ids: tuple[int, ...] = (0,)
    frame_in_ms: int = 10
    frame_length_ms: int = 25

    def __post_init__(self) -> None:
        object.__setattr__(self, "sil_pdf_ids", _class_ids(self.sil_pdf_ids))
        for name, allowed in RANGES.items():
            value = getattr(self, name)
            allowed.check(name, int(value) if isinstance(value, bool) else value, name)
        if self.silence_pdf_num != len(self.sil_pdf_ids):
            raise _wrong("silence_pdf_num", self.silence_pdf_num, f"{len(self.sil_pdf_ids)}, as sil_pdf_ids has")

    @classmethod
    def of(cls, folder: ModelFolder) -> VadOptions:
        """Those of a model folder, its ``vad_post_conf``. Raises as :meth:`over`."""
        return cls().over(folder.config.get("vad_post_conf") or {}, where=f"{folder.path}: vad_post_conf")

    def over(self, values: Mapping[str, Any], *, where: str = "param_dict") -> VadOptions:
        """These options with some of them replaced by ``values``; ``max_end_sil`` means ``max_end_silence_time``.

        Raises:
            UsageError: a key that the detector does not have, or a value out of range.
        """
        known = {field.name for field in fields(self)}
        given = {}
        for key, value in values.items():
            name = CALL_NAMES.get(key, key)
            if name in known:
                given[name] = value
            elif name not in WITHOUT_EFFECT:
                raise unknown_name("unknown VAD option", key, sorted(known), where=where)
        try:
            return replace(self, **given)
        except UsageError as error:
            raise UsageError(error.what, where=where, hint=error.hint) from None


RANGES = {
    **dict.fromkeys(("detect_mode", "do_extend"), Range(0, 1, is_whole=True)),
    **dict.fromkeys(("frame_in_ms", "frame_length_ms", "window_size_ms", "max_single_segment_time"), AT_LEAST_ONE),
    "noise_frame_num_used_for_snr": AT_LEAST_ONE,
    **dict.fromkeys(("max_end_silence_time", "max_start_silence_time"), COUNT),
    **dict.fromkeys(("sil_to_speech_time_thres", "speech_to_sil_time_thres"), COUNT),
    **dict.fromkeys(("lookback_time_start_point", "lookahead_time_end_point"), COUNT),
    **dict.fromkeys(("speech_2_noise_ratio", "speech_noise_thres", "snr_thres", "decibel_thres"), ANY),
}


def _class_ids(value: Any) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(i, int) and i >= 0 for i in value):
        raise _wrong("sil_pdf_ids", value, "a list of class numbers, such as [0]")
    return tuple(value)


def _wrong(name: str, value: Any, wanted: str) -> UsageError:
    return UsageError(f"{name} is {value!r}", where=name, hint=f"give {wanted}")
