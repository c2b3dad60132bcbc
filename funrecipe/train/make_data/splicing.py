"""Create extra training data by splicing segments of a training set: recordings are cut between characters and joined.

A model finds where each character ends (its CTC head, or else CIF weights scaled to the known text); segments of two
to six characters of one speaker are joined in random order. The texts are no longer sentences: a little speech occurs
in many contexts, and a decoder cannot learn the training texts by heart. After Lam et al. 2021, "On-the-fly aligned
data augmentation for sequence-to-sequence ASR", but written to a data directory that one can listen to.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch

from funrecipe.audio.io import read_audio
from funrecipe.data.kaldi_dir import read_data_dir
from funrecipe.decode.recognizer import load_model
from funrecipe.decode.timestamps import align_tokens, token_spans
from funrecipe.errors import DataError, UsageError
from funrecipe.files import atomic_folder
from funrecipe.model_folder import open_model_folder
from funrecipe.text.units import is_mark, space_token, split_characters
from funrecipe.train.data.plan import frontend_of
from funrecipe.train.data.references import ReferenceTokenizer, splitter_of
from funrecipe.train.objectives.output import ObjectiveConf

log = logging.getLogger(__name__)
SEARCH_S = 0.07  # a cut is moved to the quietest place within this distance
POWER_WINDOW_S = 0.02
FADE_S = 0.01
PIECE_CHARACTERS = (2, 6)
UTTERANCE_CHARACTERS = (5, 16)
FEWEST_CHARACTERS = 4  # of a recording that is cut
FEWEST_RECORDINGS = 10  # of a speaker who is kept apart


class Aligned(NamedTuple):
    """A recording with the sample at which each of its characters begins; the last entry is its end.

    ``powers`` says how loud it is at each edge; both ends count as silent.
    """

    wave: np.ndarray
    edges: list[int]
    powers: list[float]
    characters: list[str]


class Aligner:
    """Finds where characters end: halfway between their CTC spikes, or by CIF weights if the model has no trained CTC.

    Raises:
        UsageError: the model has neither.
    """

    def __init__(self, model_dir: Path) -> None:
        folder = open_model_folder(model_dir)
        self.model, self.frontend = load_model(folder, device="cpu"), frontend_of(folder)
        self.sample_rate_hz = folder.sample_rate_hz
        self.model.model_conf = folder.config.get("model_conf")  # type: ignore[assignment]
        conf = ObjectiveConf.of(self.model)
        self.has_ctc = conf.ctc_weight > 0 and getattr(self.model, "ctc", None) is not None
        if not self.has_ctc and not hasattr(self.model, "predictor"):
            raise UsageError(f"{model_dir}: no CTC head and no CIF weights to align with (family '{folder.family}')")
        self.bias = conf.predictor_bias
        self.tokenize = ReferenceTokenizer(folder.tokens, splitter_of(folder))

    def __call__(self, wave: np.ndarray, text: str) -> Aligned | None:
        """None if the text does not match the vocabulary one to one, or a character has no room."""
        space = space_token(self.tokenize.tokens)
        tokens = self.tokenize(text)
        characters = [
            c for c in split_characters(text, space) if c == space or c in self.tokenize.ids or not is_mark(c)
        ]
        characters = [" " if c == space else c for c in characters]
        if len(tokens) != len(characters) or len(characters) < FEWEST_CHARACTERS:
            return None
        ends = self.ends(wave, tokens)
        window, reach = int(POWER_WINDOW_S * self.sample_rate_hz), int(SEARCH_S * self.sample_rate_hz)
        if not ends or len(wave) < window:
            return None
        power = np.convolve(wave**2, np.ones(window) / window, "same")
        cuts = []
        for end in ends[:-1]:
            low, high = max(0, end - reach), min(len(wave), end + reach)
            if high <= low:
                return None
            cuts.append(low + int(np.argmin(power[low:high])))
        edges = [0, *cuts, len(wave)]
        if any(a >= b for a, b in zip(edges, edges[1:])):
            return None
        return Aligned(wave, edges, [0.0, *power[cuts].tolist(), 0.0], characters)

    @torch.inference_mode()
    def ends(self, wave: np.ndarray, tokens: Sequence[int]) -> list[int]:
        """The sample at which each token ends; empty if the speech has no room for them."""
        feats, lens = self.frontend(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
        if int(lens[0]) < FEWEST_CHARACTERS:
            return []
        encoder_out, lens = self.model.encode(feats, lens)
        frame = len(wave) / int(lens[0])  # samples of one
        if self.has_ctc:
            log_probs = self.model.ctc.ctc_lo(encoder_out)[0].log_softmax(-1).double().numpy()
            spikes = ctc_spikes(log_probs, tokens)
            between = [(end + first) / 2 for (_, end), (first, _) in zip(spikes, spikes[1:])]
            return [int(frame * t) for t in [*between, len(log_probs)]] if spikes else []
        target_lens = torch.tensor([len(tokens) + self.bias])  # an end of sentence may count as a token
        alphas = self.model.predictor(encoder_out, lens, target_lens=target_lens).alphas[0].double().numpy()
        sums = np.concatenate([[0.0], np.cumsum(alphas)])
        return [int(frame * np.interp(k, sums, np.arange(len(sums)))) for k in range(1, len(tokens) + 1)]


def ctc_spikes(log_probs: np.ndarray, tokens: Sequence[int]) -> list[tuple[int, int]]:
    """First frame of each token on the best CTC path of ``tokens``, and the frame past its last; [] if there is none.

    Args:
        log_probs: (T, V), blank is 0.
    """
    if len(tokens) + sum(a == b for a, b in zip(tokens, tokens[1:])) > len(log_probs):
        return []
    return token_spans(align_tokens(log_probs, tokens, trusts_blank=False))


def splice(pool: list[Aligned], sample_rate_hz: int, chooser: random.Random) -> tuple[np.ndarray, str]:
    """Join segments of one speaker's recordings, cut where it is quiet, until there are enough characters."""
    parts = [np.zeros(int(chooser.uniform(0.05, 0.2) * sample_rate_hz), np.float32)]
    text: list[str] = []
    wanted = chooser.randint(*UTTERANCE_CHARACTERS)
    while len(text) < wanted:
        source = chooser.choice(pool)
        size = min(len(source.characters), chooser.randint(*PIECE_CHARACTERS))
        starts = [chooser.randint(0, len(source.characters) - size) for _ in range(4)]
        start = min(starts, key=lambda s: source.powers[s] + source.powers[s + size])
        piece = source.wave[source.edges[start] : source.edges[start + size]].copy()
        fade = min(int(FADE_S * sample_rate_hz), len(piece) // 2)
        piece[:fade] *= np.linspace(0, 1, fade, dtype=np.float32)
        piece[len(piece) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
        parts.append(piece)
        text += source.characters[start : start + size]
    return np.concatenate(parts), "".join(text)


def speaker_of(utt_id: str) -> str:
    """The speaker by Kaldi's convention that ids begin with it: the id without its last number and letters before that.

    >>> speaker_of("BAC009S0150W0001")
    'BAC009S0150'
    """
    return re.sub(r"[^0-9]*[0-9]*$", "", utt_id)


def pools_of_speakers(recordings: Sequence[tuple[str, Aligned]]) -> list[list[Aligned]]:
    """Recordings by speaker; those of speakers with only a few share one pool."""
    pools: dict[str, list[Aligned]] = {}
    for speaker, aligned in recordings:
        pools.setdefault(speaker, []).append(aligned)
    large = [pools[speaker] for speaker in sorted(pools) if len(pools[speaker]) >= FEWEST_RECORDINGS]
    rest = [a for speaker in sorted(pools) if len(pools[speaker]) < FEWEST_RECORDINGS for a in pools[speaker]]
    return [*large, rest] if rest else large


def write_spliced(model_dir: Path, data_dir: Path, out_dir: Path, *, count: int, seed: int = 0) -> tuple[int, int]:
    """Write a data directory of ``count`` spliced utterances; returns how many recordings it used, and of how many.

    Speakers come from ``utt2spk`` of ``data_dir``, else from the ids (:func:`speaker_of`). ``out_dir`` gets
    ``wav/*.flac``, ``wav.scp`` and ``text``, and appears when it is complete.

    Raises:
        DataError: there is no text, or no recording can be aligned.
        UsageError: ``out_dir`` exists, or the model cannot align.
    """
    if out_dir.exists():
        raise UsageError(f"{out_dir} exists", hint="remove it, or choose another folder")
    data, align = read_data_dir(data_dir), Aligner(model_dir)
    if data.texts is None:
        raise DataError("no text: splicing needs transcripts", where=str(data_dir))
    recordings = []
    for utterance in data.utterances:
        key = utterance.utt_id
        try:
            wave = read_audio(
                utterance.audio, sample_rate_hz=align.sample_rate_hz, start_s=utterance.start_s, end_s=utterance.end_s
            )
        except DataError as error:
            log.warning("%s is left out: %s", key, error)
            continue
        if aligned := align(wave, data.texts.get(key, "")):
            recordings.append((data.speakers.get(key) or speaker_of(key), aligned))
    if not recordings:
        raise DataError("no recording could be aligned with its text", where=str(data_dir))
    with atomic_folder(out_dir) as new:
        write_utterances(new, pools_of_speakers(recordings), align.sample_rate_hz, count, random.Random(seed))
    return len(recordings), len(data.utterances)


def write_utterances(
    out_dir: Path, pools: list[list[Aligned]], sample_rate_hz: int, count: int, chooser: random.Random
) -> None:
    (out_dir / "wav").mkdir(parents=True)
    lists: dict[str, list[str]] = {"wav.scp": [], "text": []}
    for i in range(count):
        [pool] = chooser.choices(pools, [len(pool) for pool in pools])
        wave, text = splice(pool, sample_rate_hz, chooser)
        key = f"spliced{i:06d}"
        soundfile.write(out_dir / "wav" / f"{key}.flac", wave, sample_rate_hz, subtype="PCM_16")
        for name, value in (("wav.scp", f"wav/{key}.flac"), ("text", text)):
            lists[name].append(f"{key} {value}\n")
    for name, lines in lists.items():
        (out_dir / name).write_text("".join(lines), "utf-8")
