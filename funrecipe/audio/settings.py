"""How a user wants audio read: the options of the commands, part of a plan and of ``pipeline()``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from funrecipe.audio.parts import MAX_RATE_HZ, MIN_RATE_HZ
from funrecipe.errors import UsageError

MIX = "mix"


@dataclass(frozen=True)
class AudioSettings:
    """Arguments of :func:`funrecipe.audio.io.read_audio`, which says what they mean: ``**vars(settings)``."""

    audio_fs: int | None = None
    channel: int | str = 1
    allow_pipes: bool = False
    allow_ffmpeg: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "channel", check_channel(self.channel))


def add_audio_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_channel_arguments(parser)
    add("--allow_pipes", choices=("true", "false"), default="false", help="run commands that wav.scp names")


def add_channel_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of ``add_audio_arguments`` that are about files themselves, not about lists of them."""
    add = parser.add_argument
    add("--audio_fs", type=_rate_hz, help="sampling rate of raw .pcm files, in Hz")
    add("--channel", help="channel of the audio, counted from 1, or mix: the mean of all (default: 1)")
    add("--allow_ffmpeg", choices=("true", "false"), default="false", help="let ffmpeg read m4a, aac, amr, wma, ...")


def _rate_hz(value: str) -> int:
    if not value.strip().isdecimal() or not MIN_RATE_HZ <= int(value) <= MAX_RATE_HZ:
        raise argparse.ArgumentTypeError(f"'{value}' is not a rate from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
    return int(value)


def settings_given(args: argparse.Namespace) -> AudioSettings:
    """The settings that the arguments of ``add_audio_arguments`` name. Raises UsageError: an invalid channel."""
    channel = 1 if args.channel is None else args.channel
    allow_pipes = getattr(args, "allow_pipes", "false") == "true"
    return AudioSettings(args.audio_fs, channel, allow_pipes, args.allow_ffmpeg == "true")


def check_channel(channel: Any) -> int | str:
    """``mix``, or the number of a channel from 1 on, as a number. Raises UsageError."""
    text = str(channel)
    if text == MIX or (text.isascii() and text.isdecimal() and int(text) >= 1):
        return MIX if text == MIX else int(text)
    raise UsageError(f"channel is {channel!r}", where="channel", hint="give 1, 2, ... or mix")
