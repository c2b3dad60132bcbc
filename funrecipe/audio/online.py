"""The front-end on a stream: samples in pieces of any size -> the frames of the whole waveform.

A frame is emitted as soon as all its samples have arrived; the last frames, whose windows are completed by
repeating the last log-mel frame, come with the final piece. FunASR's ``WavFrontendOnline`` is the model, without its
defects: it raises or loses frames when the final piece is short, and repeats frames when lfr_m = lfr_n.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from funrecipe.audio.frontend import WavFrontend
from funrecipe.errors import UsageError


@dataclass
class FrontendState:
    """What a stream still needs of its past.

    Attributes:
        samples: (S,) samples from the start of the next window on, in the input's units.
        log_mels: (T, n_mels): frames that a later output still stacks.
        first_frame: the number of the first frame in ``log_mels``.
        next_output: the number of the next output frame.
    """

    samples: Tensor
    log_mels: Tensor
    first_frame: int = 0
    next_output: int = 0


class OnlineFrontend:
    """Emits, piece by piece, exactly the frames of ``frontend(whole waveform)``; keeps no stream of its own.

    Raises:
        UsageError: ``snip_edges: false``, whose first window needs samples that have not arrived.
    """

    def __init__(self, frontend: WavFrontend) -> None:
        if not frontend.fbank.snip_edges:
            raise UsageError("a streaming front-end needs snip_edges: true", where="config.yaml: frontend_conf")
        self._frontend = frontend
        self._left = (frontend.lfr_m - 1) // 2
        self._right = frontend.lfr_m - 1 - self._left

    @property
    def samples_per_frame(self) -> int:
        """Samples from one output frame to the next."""
        return self._frontend.fbank.shift_samples * self._frontend.lfr_n

    def start(self) -> FrontendState:
        """The state of a new stream."""
        like = self._frontend.fbank.window
        return FrontendState(like.new_zeros(0), like.new_zeros(0, self._frontend.fbank.n_mels))

    def feed(self, samples: Tensor, state: FrontendState, is_final: bool) -> Tensor:
        """Features (T, output_size), T >= 0, that ``samples`` (S,) complete. The final piece flushes the rest."""
        self._add_log_mels(samples.to(state.samples), state)
        seen = state.first_frame + state.log_mels.size(0)
        if is_final:
            end = -(-seen // self._frontend.lfr_n)
        else:
            end = max(state.next_output, (seen - 1 - self._right) // self._frontend.lfr_n + 1)
        centres = torch.arange(state.next_output, end, device=state.log_mels.device) * self._frontend.lfr_n
        taps = centres[:, None] + torch.arange(-self._left, self._right + 1, device=centres.device)
        stacked = state.log_mels[taps.clamp(0, max(seen - 1, 0)) - state.first_frame].flatten(1)
        self._forget(state, end)
        return self._frontend.normalize(stacked)

    def _add_log_mels(self, samples: Tensor, state: FrontendState) -> None:
        """Turn all whole windows into log-mel frames and keep the samples from the next window on."""
        fbank = self._frontend.fbank
        state.samples = torch.cat((state.samples, samples))
        if state.samples.size(0) < fbank.window_samples:
            return
        lens = torch.tensor([state.samples.size(0)], device=state.samples.device)
        new_mels, (new_frames,) = fbank(state.samples[None] * self._frontend.scale, lens)
        state.samples = state.samples[int(new_frames) * fbank.shift_samples :]
        state.log_mels = torch.cat((state.log_mels, new_mels[0]))

    def _forget(self, state: FrontendState, next_output: int) -> None:
        """Drop the log-mel frames that no output from ``next_output`` on stacks (the last may be repeated)."""
        state.next_output = next_output
        keep_from = max(0, next_output * self._frontend.lfr_n - self._left)
        dropped = max(0, min(keep_from - state.first_frame, state.log_mels.size(0) - 1))
        state.first_frame += dropped
        state.log_mels = state.log_mels[dropped:]
