"""The pre-flight: which utterances can be trained on, which are left out and why, and when those are too many."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from funrecipe.audio.channels import ChannelCounter
from funrecipe.audio.io import read_audio
from funrecipe.data.kaldi_dir import Utterance
from funrecipe.errors import DataError, UnsafeFileError, UsageError
from funrecipe.families import MARKED_TEXTS, SEGMENTS, TEXTS
from funrecipe.model_folder import ModelFolder
from funrecipe.models.special_ids import BLANK_ID
from funrecipe.text.tokenizer import UNKNOWN
from funrecipe.train.adapt.initialize import extend_tokens
from funrecipe.train.data.dataset import ItemLimits, TrainItem
from funrecipe.train.data.folders import TRAIN_FOLDER, validation_dir
from funrecipe.train.data.identity import audio_digest, joined_fingerprint, stream_fingerprint
from funrecipe.train.data.large import texts_of
from funrecipe.train.data.marked_text import MarkedTextReader, inspect_marked_text, inspect_text
from funrecipe.train.data.plan import check_dataset_conf, cost_of, large_plan, shards_of
from funrecipe.train.data.references import ReferenceTokenizer, splitter_of
from funrecipe.train.data.rich_labels import rich_labels_of
from funrecipe.train.data.small import Inspection, Measured, inspect_data_dir, report_lines
from funrecipe.train.data.speech_segments import inspect_speech
from funrecipe.train.distributed import Ranks, wait_for_all
from funrecipe.train.option_rules import trained_on
from funrecipe.train.options import TrainOptions
from funrecipe.train.pairing import length_warning

log = logging.getLogger(__name__)
Reader = ReferenceTokenizer | MarkedTextReader
FIRST_LOOK = 1000  # utterances of a large data set that the pre-flight looks at


@dataclass
class Preflight:
    """What was found, and what training reads the data with.

    Attributes:
        train: all training utterances (small data), or the first ones (large data).
        valid: all validation utterances.
        folder: the model's description, with a longer vocabulary if that was asked for.
    """

    train: Inspection
    valid: Inspection
    folder: ModelFolder
    tokenizer: Reader
    limits: ItemLimits

    @property
    def fingerprints(self) -> dict[str, str]:
        """Set -> fingerprint of its data."""
        return {"training": self.train.fingerprint, "validation": self.valid.fingerprint}

    def sentences(self, options: TrainOptions) -> Iterator[Sequence[str]]:
        """The tokens of all training texts, of large data too."""
        if options.dataset_type == "small":
            texts = (item.text for item in self.train.items)
        else:
            texts = (
                self.tokenizer(text) for text in texts_of(shards_of(Path(options.data_dir) / TRAIN_FOLDER, options))
            )
        return ([self.folder.tokens[i] for i in text] for text in texts)


def inspect_data(start: ModelFolder, options: TrainOptions, ranks: Ranks) -> Preflight:
    """Pre-flight of both sets. One rank measures first, the others then find its measurements in the cache.

    Raises:
        DataError: a set is missing or empty, or more than ``max_bad_share`` of it cannot be used.
    """
    data_dir, cache_dir = Path(options.data_dir), Path(options.output_dir) / "preflight"
    if not ranks.is_writer:
        wait_for_all(ranks)
    folder, tokenizer = start, tokenizer_of(start)
    blank_id = BLANK_ID if start.tokens[:1] == (UNKNOWN,) else None
    limits = ItemLimits(options.min_ms, options.max_ms, options.max_tokens, start.encoder_frame_ms, blank_id)
    if options.extend_vocab and start.bpe_model is not None:
        raise UsageError(
            "extend_vocab: the vocabulary belongs to a SentencePiece model, which cannot be extended",
            where=str(start.bpe_model),
            hint="leave extend_vocab out; texts that it cannot write are reported and left out",
        )
    if options.dataset_type == "large":
        check_dataset_conf(options.dataset_conf)
        if options.extend_vocab:
            for text in texts_of(shards_of(data_dir / TRAIN_FOLDER, options)):
                tokenizer(text)
            folder, tokenizer = extended(start, tokenizer)
        look = Inspector(folder, options, tokenizer, limits)
        train = look.at_stream(data_dir / TRAIN_FOLDER)
    else:
        look = Inspector(folder, options, tokenizer, limits)
        train = look.at_training_sets(cache_dir)
        if options.extend_vocab and tokenizer.unknown:
            folder, tokenizer = extended(start, tokenizer)
            look = Inspector(folder, options, tokenizer, limits)
            train = look.at_training_sets(cache_dir)
    warn_of_single_utterances(train.items, folder, options)
    valid = look.at(validation_dir(data_dir), cache_dir)
    if ranks.is_writer:
        warn_of_shared_recordings(train.items, valid.items)
    if len(valid.items) < ranks.world_size:
        raise DataError(
            f"the validation set has fewer utterances ({len(valid.items)}) than there are processes"
            f" ({ranks.world_size})",
            where=str(data_dir),
            hint="add utterances, or train in fewer processes",
        )
    if ranks.is_writer:
        wait_for_all(ranks)
    return Preflight(train, valid, folder, tokenizer, limits)


def tokenizer_of(folder: ModelFolder) -> Reader:
    """What reads the texts of a model's training data; a model without tokens has none to read."""
    if trained_on(folder.family) == MARKED_TEXTS:
        return MarkedTextReader(folder)
    return ReferenceTokenizer(folder.tokens or (UNKNOWN,), splitter_of(folder))


def warn_of_shared_recordings(train: Sequence[TrainItem], valid: Sequence[TrainItem]) -> None:
    """Warn of validation utterances that are also trained on, under whatever key."""
    heard = {(os.path.realpath(item.audio), item.start_s) for item in train if item.audio}
    both = [item.key for item in valid if item.audio and (os.path.realpath(item.audio), item.start_s) in heard]
    if both:
        log.warning(
            "%d utterances are in the training and in the validation set, so validation is too optimistic: %s",
            len(both), " ".join([*both[:3], *["..."] * (len(both) > 3)]),
        )  # fmt: skip


def extended(start: ModelFolder, tokenizer: ReferenceTokenizer) -> tuple[ModelFolder, Reader]:
    """The description of a model whose vocabulary has the unknown tokens of ``tokenizer``, and its tokenizer."""
    tokens = extend_tokens(start.tokens, tokenizer.unknown)
    added = len(tokens) - len(start.tokens)
    log.info("extend_vocab: %d tokens added: %s", added, " ".join(sorted(tokenizer.unknown)))
    folder = replace(start, tokens=tuple(tokens), config={**start.config, "token_list": tokens})
    return folder, tokenizer_of(folder)


@dataclass(frozen=True)
class Inspector:
    """Looks at sets as a run with these options would read them."""

    folder: ModelFolder
    options: TrainOptions
    tokenizer: Reader
    limits: ItemLimits

    def at_stream(self, train_dir: Path) -> Inspection:
        """The first utterances of a large data set, as an epoch would meet them."""
        plan = large_plan(train_dir, self.folder, self.options, self.limits, self.tokenizer, Ranks())
        items = list(islice(plan.items(0), FIRST_LOOK))
        found = Inspection(items, {reason: plan.dropped.keys_of(reason) for reason in plan.dropped})
        found.total = len(items) + sum(plan.dropped.values())
        found.fingerprint = stream_fingerprint(plan.shards)
        self.report(found, train_dir)
        return found

    def at_training_sets(self, cache_dir: Path) -> Inspection:
        """``data_dir/train`` and ``more_train_dirs``, as one set. Raises DataError."""
        train_dir = Path(self.options.data_dir) / TRAIN_FOLDER
        found = self.at(train_dir, cache_dir)
        unknown, home = self.tokenizer.unknown.copy(), {item.key: train_dir for item in found.items}
        fingerprints = [found.fingerprint]
        for number, directory in enumerate(map(Path, self.options.more_train_dirs), 1):
            more = self.at(directory, cache_dir / f"more{number}")
            unknown += self.tokenizer.unknown
            fingerprints.append(more.fingerprint)
            for item in more.items:
                if item.key in home:
                    where = str(directory)
                    raise DataError(f"duplicate utterance id '{item.key}': also in {home[item.key]}", where=where)
                home[item.key] = directory
            found.items += more.items
            for reason, keys in more.dropped.items():
                found.dropped.setdefault(reason, []).extend(keys)
            found.total += more.total
        self.tokenizer.unknown = unknown
        found.fingerprint = joined_fingerprint(fingerprints)
        found.items.sort(key=lambda item: item.key.encode())
        return found

    def at(self, data_dir: Path, cache_dir: Path) -> Inspection:
        """One directory, every file of it. Raises DataError, UnsafeFileError."""
        tokenizer = self.tokenizer
        tokenizer.unknown.clear()
        tokenizer.glued = tokenizer.num_tokens = 0
        if isinstance(tokenizer, MarkedTextReader):
            found = inspect_marked_text(data_dir, tokenizer, max_tokens=self.options.max_tokens)
        elif trained_on(self.folder.family) == TEXTS:
            found = inspect_text(data_dir, tokenizer, max_tokens=self.options.max_tokens)
        else:
            try:
                found = self._at_recordings(data_dir, tokenizer, cache_dir / f"{data_dir.name}.durations.json")
            except UnsafeFileError as error:
                hint = "training reads files only: write the output of the commands to files and list those"
                raise UnsafeFileError(error.what, where=error.where, hint=hint) from None
        self.report(found, data_dir)
        return found

    def _at_recordings(self, data_dir: Path, tokenizer: ReferenceTokenizer, cache_file: Path) -> Inspection:
        """Recordings with their texts or with the speech in them."""
        channels = ChannelCounter()
        measure = partial(measured, sample_rate_hz=self.folder.sample_rate_hz, on_channels=channels)
        workers = max(1, self.options.num_workers)
        if trained_on(self.folder.family) == SEGMENTS:
            found = inspect_speech(data_dir, measure, self.limits, cache_file=cache_file, workers=workers)
        else:
            label = rich_labels_of(self.folder, data_dir)
            found = inspect_data_dir(
                data_dir, tokenizer, measure, self.limits, cache_file=cache_file, workers=workers, label=label
            )
            if label is not None:
                label.report(found.total, data_dir)
        if note := channels.take_note(found.total, 1):
            log.warning("%s: %s", data_dir, note)
        return found

    def report(self, found: Inspection, data_dir: Path) -> None:
        """Log what was found; DataError when nothing, or too little, is left."""
        lines = report_lines(found, self.tokenizer.unknown, data_dir)
        for line in lines:
            log.info(line)
        num_unknown, num_tokens = sum(self.tokenizer.unknown.values()), self.tokenizer.num_tokens
        if 2 * num_unknown > num_tokens and not self.options.extend_vocab:
            log.warning("%s: %d of %d tokens are not in the vocabulary: is this a model for the language of the texts?",
                        data_dir, num_unknown, num_tokens)  # fmt: skip
        if self.tokenizer.glued:
            log.warning(
                "%s: %d texts hold spaces between words, which this vocabulary cannot spell: results will have none. "
                "'funrecipe tokens' makes a list with <space>", data_dir, self.tokenizer.glued,
            )  # fmt: skip
        if warning := length_warning(found.items):
            log.warning("%s: %s", data_dir, warning)
        if not found.items:
            raise DataError(
                "no utterance can be used", where=str(data_dir), hint="; ".join(x.strip() for x in lines[1:4])
            )
        if found.bad_share > self.options.max_bad_share:
            raise DataError(
                f"{found.bad_share:.1%} of the utterances cannot be used: {'; '.join(x.strip() for x in lines[1:4])}",
                where=str(data_dir),
                hint="fix or remove them, or train on the rest with --max_bad_share 1",
            )


def warn_of_single_utterances(items: Sequence[TrainItem], folder: ModelFolder, options: TrainOptions) -> None:
    """Warn if most batches hold one utterance: ``batch_bins`` may have been meant in another unit."""
    costs = sorted(cost_of(item, options.unit, folder) for item in items)
    middle = costs[len(costs) // 2]
    if options.unit != "utterances" and 2 * middle > options.batch_bins:
        log.warning(
            "batch_bins %g %s: an utterance has %g (median), so most batches hold a single one",
            options.batch_bins, options.unit, middle,
        )  # fmt: skip


def measured(utterance: Utterance, sample_rate_hz: int, on_channels: Callable[[int], None]) -> Measured:
    """Read all audio of an utterance, so that damage is found before training."""
    part = {"start_s": utterance.start_s, "end_s": utterance.end_s}
    try:
        wave = read_audio(utterance.audio, sample_rate_hz=sample_rate_hz, on_channels=on_channels, **part)
    except DataError as error:
        return Measured(0.0, f"unreadable audio: {error.what.removeprefix('cannot read audio: ')}")
    return Measured(1000.0 * len(wave) / sample_rate_hz, None, audio_digest(wave))
