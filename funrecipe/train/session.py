"""From options to a trainer that is ready to run: model, data, loss, validation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from funrecipe.checkpoint import add_prefix, fingerprint, fit_state_dict, load_state_dict
from funrecipe.errors import DataError, UsageError
from funrecipe.families import find_family
from funrecipe.files import sha256_of
from funrecipe.hub import resolve_model
from funrecipe.identity import value_digest
from funrecipe.model_folder import ModelFolder, open_model_folder
from funrecipe.model_folder.files import read_config, read_token_file
from funrecipe.model_folder.model_settings import check_heads
from funrecipe.models.reduced import settle_gpu
from funrecipe.models.registry import build_model
from funrecipe.train.adapt.initialize import extend_state, freeze, load_encoder, load_init_param
from funrecipe.train.adapt.lora import inject, merged_state
from funrecipe.train.adapt.pronunciations import share_pronunciations
from funrecipe.train.checkpointing import Identity
from funrecipe.train.cpu_layers import use_cpu_layers
from funrecipe.train.data.batching import Batch
from funrecipe.train.data.dataset import SmallPlan
from funrecipe.train.data.folders import TRAIN_FOLDER
from funrecipe.train.data.identity import plan_fingerprint
from funrecipe.train.data.large import StreamedPlan
from funrecipe.train.data.plan import large_plan, small_plan, training_loader, unit_ms, validation_loader
from funrecipe.train.data.preflight import Preflight, inspect_data
from funrecipe.train.data.small import Inspection
from funrecipe.train.distributed import Ranks, refuse_differences
from funrecipe.train.loop import Trainer
from funrecipe.train.measures import Measure, measure_of
from funrecipe.train.objectives.compute import compute_loss
from funrecipe.train.objectives.output import LossOutput
from funrecipe.train.objectives.phone_ctc import PhoneCtc, PhoneTable, add_phone_loss, without_auxiliary
from funrecipe.train.optimizers import build_optimizer
from funrecipe.train.option_rules import watches_plateau
from funrecipe.train.options import TrainOptions, as_text
from funrecipe.train.pairing import check_pairing
from funrecipe.train.precision import choose_precision
from funrecipe.train.progress_log import RunLog
from funrecipe.train.schedulers import build_scheduler
from funrecipe.train.validation import Evaluator, Loss

log = logging.getLogger(__name__)
PhonesOf = Callable[[Sequence[int]], tuple[int, ...]]


@dataclass
class Session:
    """A run that is about to start."""

    folder: ModelFolder
    trainer: Trainer


def starting_point(options: TrainOptions) -> ModelFolder:
    """The model to start from: a model folder, or a configuration with random weights (``weights`` does not exist).

    Raises:
        UsageError, DataError: neither or both are given, or they cannot be read.
    """
    if bool(options.model) == bool(options.config):
        raise UsageError("give either --model (a model folder) or --config (from scratch)")
    for name, own in (("pretrained", "weights"), ("token_list", "tokens"), ("cmvn_file", "statistics")):
        if options.model and getattr(options, name):
            hint = "leave it out, or give --config, the configuration of the model to build, in place of --model"
            raise UsageError(f"{name} has no effect with --model, which has its own {own}", hint=hint)
    if options.model:
        return open_model_folder(resolve_model(options.model))
    path = Path(options.config)
    if not path.is_file():
        raise DataError("no such configuration", where=options.config, hint="name a file: config.yaml of a model")
    config, listed = read_config(path)
    tokens = read_token_file(Path(options.token_list)) if options.token_list else listed
    if tokens is None and not find_family(str(config.get("model") or "asr")).has_tokens:
        tokens = []
    if not isinstance(tokens, list):
        raise DataError("from scratch: no token list", where=options.config, hint="give one with --token_list")
    if len(set(tokens)) != len(tokens):
        raise DataError(
            "from scratch: the token list has a duplicate token", where=options.token_list or options.config
        )
    config["token_list"] = tokens
    cmvn = Path(options.cmvn_file).resolve() if options.cmvn_file else None
    if options.pretrained:
        encoder = open_model_folder(resolve_model(options.pretrained, pretrained=True))
        parts = ("encoder", "encoder_conf", "frontend", "frontend_conf", "input_size")
        config = {**{key: encoder.config[key] for key in parts if key in encoder.config}, **config}
        cmvn = cmvn or encoder.cmvn
    return ModelFolder(
        path=path.parent.resolve(),
        layout="0.x",
        mode=str(config.get("model", "asr")),
        config=config,
        tokens=tuple(tokens),
        weights=Path(),
        cmvn=cmvn,
    )


def build_loss(folder: ModelFolder, options: TrainOptions) -> Loss:
    """The objective of the family, plus the phone CTC if it is on."""

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
        output = compute_loss(folder.family, model, batch, generator)
        head: PhoneCtc | None = getattr(model, "phone_ctc", None)
        return add_phone_loss(output, head, batch, options.phone_ctc_weight) if head is not None else output

    return loss


def build_session(
    options: TrainOptions, ranks: Ranks, device: torch.device, *, start: ModelFolder | None = None
) -> Session:
    """Everything up to the first update: the pre-flight of the data, the model, optimizer and loaders.

    Args:
        start: what to start from, if it has been opened already.
    """
    start = start or starting_point(options)
    data = inspect_data(start, options, ranks)
    folder = data.folder
    precision = choose_precision(options.precision, device)
    torch.manual_seed(options.seed)
    model = build_trainable(start, folder, options)
    phones_of = add_phone_ctc(model, data, options) if options.phone_ctc_weight > 0 else None
    model.to(device)
    if device.type == "cpu":
        use_cpu_layers(model)
    else:
        settle_gpu()
    plan, plan_id = plan_batches(data, options, ranks, phones_of)
    batches_per_epoch = len(plan.batches(1)) if isinstance(plan, SmallPlan) else None
    if ranks.is_writer:
        log.info(size_line(options, folder, batches_per_epoch))
    loss = build_loss(folder, options)
    optimizer = build_optimizer(options.optim, model.parameters(), options.learning_rate_conf)
    measure = measure_of(folder) if options.valid_decode else None
    identity = Identity(
        plan_id,
        data.fingerprints,
        kept_settings(start, folder, options),
        judged_by(model, data.valid, measure, options),
    )
    refuse_differences(shared_by_ranks(identity, options), ranks, device)
    trainer = Trainer(
        model=model,
        loss=loss,
        optimizer=optimizer,
        scheduler=build_scheduler(options.scheduler, optimizer, options.scheduler_conf),
        train_loader=training_loader(plan, folder, options, in_processes=device.type == "cuda"),
        evaluate=Evaluator(
            loader=validation_loader(data.valid.items, folder, options, ranks),
            loss=loss,
            measure=measure,
            device=device,
            ranks=ranks,
            decoded_keys=decoded_keys(data.valid, options),
        ),
        options=options,
        precision=precision,
        identity=identity,
        run_log=RunLog(
            options, is_writer=ranks.is_writer, comparable=identity.comparable, batches_per_epoch=batches_per_epoch
        ),
        device=device,
        ranks=ranks,
        state_to_save=model_state,
    )
    return Session(folder, trainer)


def add_phone_ctc(model: nn.Module, data: Preflight, options: TrainOptions) -> PhonesOf:
    """Give ``model`` a phone CTC over the training texts, and every utterance its phones; text ids -> phone ids."""
    table = PhoneTable(data.sentences(options))

    def phones_of(text: Sequence[int]) -> tuple[int, ...]:
        return table.encode([data.folder.tokens[i] for i in text])

    for found in (data.train, data.valid):
        found.items = [replace(item, phones=phones_of(item.text)) for item in found.items]
    model.phone_ctc = PhoneCtc(model.encoder, table.size, options.phone_ctc_layer)
    return phones_of


def plan_batches(
    data: Preflight, options: TrainOptions, ranks: Ranks, phones_of: PhonesOf | None
) -> tuple[SmallPlan | StreamedPlan, str]:
    """The batches of this rank, and their fingerprint."""
    if options.dataset_type == "large":
        train_dir = Path(options.data_dir) / TRAIN_FOLDER
        streamed = large_plan(train_dir, data.folder, options, data.limits, data.tokenizer, ranks, phones_of)
        return streamed, plan_fingerprint([], options, ranks, streamed.shards)
    items = data.train.items
    plan = small_plan(items, data.folder, options, ranks, shuffle=True, passes=options.passes_per_epoch)
    return plan, plan_fingerprint(items, options, ranks)


def size_line(options: TrainOptions, folder: ModelFolder, batches: int | None) -> str:
    """What ``batch_bins`` means, and how many batches and updates it gives."""
    bins, unit = options.batch_bins, options.unit
    ms = unit_ms(unit, folder)
    line = f"batch_bins {bins:g} {unit}" + (
        "" if ms is None else f" = {bins * ms / 1000:g} s of audio, padding included"
    )
    if batches is None:
        return f"{line}; streamed: the number of batches is known after the first epoch"
    return f"{line}; {batches} batches and {-(-batches // options.accum_grad)} updates per epoch"


def build_trainable(start: ModelFolder, folder: ModelFolder, options: TrainOptions) -> nn.Module:
    """The model over the tokens of ``folder`` with the weights of ``start``, frozen or adapted as the options say."""
    model = build_model(folder.config, len(folder.tokens))
    if start.weights.is_file():
        state = add_prefix(load_state_dict(start.weights), getattr(model, "key_prefix", ""))
        if folder.tokens != start.tokens:
            state = extend_state(state, start.tokens, folder.tokens, model.state_dict())
        fit_state_dict(model, state, where=str(start.weights))
    if options.pretrained:
        load_encoder(model, open_model_folder(resolve_model(options.pretrained, pretrained=True)).weights)
    for spec in options.init_param:
        load_init_param(model, spec, ignore_mismatch=options.ignore_init_mismatch)
    model_conf = {**(folder.config.get("model_conf") or {}), **options.model_conf}
    model.model_conf = model_conf  # type: ignore[assignment]  # torch: a tensor or a module
    check_heads(model, model.model_conf)
    if options.lora_rank:
        chosen = inject(model, options.lora_targets, options.lora_rank, options.lora_alpha)
        log.info("LoRA of rank %d on %d linear layers", options.lora_rank, len(chosen))
    freeze(model, options.freeze_param)
    if options.share_pronunciations:
        log.info("sounds are shared by %s", ", ".join(share_pronunciations(model, folder.tokens)))
    return model


def check_data(start: ModelFolder, options: TrainOptions) -> None:
    """The pre-flight alone; a base model also decodes a sample, to see whether recordings have their own texts."""
    data = inspect_data(start, options, Ranks())
    if start.weights.is_file():
        model, where = build_trainable(start, start, options), Path(options.data_dir) / TRAIN_FOLDER
        check_pairing(model, start, data.train.items, options.max_bad_share, where)


def check_model(start: ModelFolder, options: TrainOptions) -> None:
    """Build the model and load its weights as training would; log its size and how much of it is trained."""
    model = build_trainable(start, start, options)
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    log.info(
        "%s: %s, %d tokens, %.2f M parameters, %.2f M of them trained, weights %s",
        start.path,
        start.family,
        len(start.tokens),
        sum(n for n, _ in sizes) / 1e6,
        sum(n for n, trained in sizes if trained) / 1e6,
        fingerprint(load_state_dict(start.weights))[:12] if start.weights.is_file() else "random",
    )


# Settings whose effect is in checkpoint.pb: on resuming, another value would be silently ignored.
KEPT = ("pretrained", "optim", "optim_conf", "lr", "scheduler", "scheduler_conf", "init_param", "freeze_param",
        "lora_rank", "lora_alpha", "lora_targets", "share_pronunciations", "extend_vocab")  # fmt: skip


def kept_settings(start: ModelFolder, folder: ModelFolder, options: TrainOptions) -> dict[str, str]:
    """What a run cannot change on resuming, as text: some settings, and the model that it trains."""
    weights = fingerprint(load_state_dict(start.weights))[:12] if start.weights.is_file() else "random"
    kept = (*KEPT, "val_scheduler_criterion") if watches_plateau(options) else KEPT
    model = {"base model": weights, "vocabulary": value_digest(folder.tokens)[:12]}
    if folder.cmvn is not None:
        model["am.mvn"] = sha256_of(folder.cmvn)[:12]
    return {name: str(getattr(options, name)) for name in kept} | model


# Settings that may differ between the machines of a run: paths, and what one process does with them.
LOCAL = ("model", "config", "token_list", "cmvn_file", "pretrained", "data_dir", "more_train_dirs", "output_dir",
         "noise_scp", "rir_scp", "init_param", "num_workers", "prefetch_batches", "cache_mb", "log_interval",
         "num_gpus", "process_timeout_s")  # fmt: skip


def shared_by_ranks(identity: Identity, options: TrainOptions) -> dict[str, str]:
    """What all processes of a run must have alike, as text of one line; streamed audio has other times elsewhere."""
    settings = {name: as_text(value) for name, value in vars(options).items() if name not in LOCAL}
    data = {f"{name} data": value for name, value in identity.data.items()}
    if options.dataset_type == "large":
        del data["training data"]
    model = {name: value for name, value in identity.settings.items() if name not in vars(options)}
    return {name: value.replace("\n", " ") for name, value in (settings | data | model).items()}


def judged_by(model: nn.Module, valid: Inspection, measure: Measure | None, options: TrainOptions) -> dict[str, str]:
    """Digests of what the values of an epoch depend on: settings of the loss, utterances that it is measured on.

    Those that are decoded matter only if a value from decoding ranks epochs or ends the run.
    """
    named = {name for _, name, _ in (*options.best_model_criterion, options.early_stopping_criterion)}
    named.add(options.val_scheduler_criterion[1])
    is_decoded = measure is not None and not named.isdisjoint(measure.names)
    return {
        "settings of the loss": value_digest([model.model_conf, options.phone_ctc_weight, options.phone_ctc_layer]),
        "validation utterances left out": value_digest([item.key for item in valid.items]),
        "decoded utterances": value_digest(options.valid_decode_utterances if is_decoded else None),
    }


def decoded_keys(valid: Inspection, options: TrainOptions) -> frozenset[str] | None:
    """The utterances that validation decodes; None: all."""
    limit = options.valid_decode_utterances
    if options.valid_decode and 0 < limit < len(valid.items):
        log.info("validation decodes the first %d of %d utterances: --valid_decode_utterances 0 decodes all",
                 limit, len(valid.items))  # fmt: skip
    return frozenset(item.key for item in valid.items[:limit]) if limit else None


def model_state(model: nn.Module) -> dict[str, Tensor]:
    """What ``<N>epoch.pb`` holds: the plain model, additions merged in, without auxiliary heads."""
    return without_auxiliary(merged_state(model))
