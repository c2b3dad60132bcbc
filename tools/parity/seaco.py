"""Case ``seaco_paraformer``: recognition with and without hotwords, the choice among many, times, losses."""

from __future__ import annotations

import itertools
import re
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from funrecipe.checkpoint import load_weights
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import make_recognizer
from funrecipe.decode.timestamps import align, token_times_ms
from funrecipe.model_folder import ModelFolder, open_model_folder
from funrecipe.models.registry import build_model
from funrecipe.models.seaco_paraformer import SeacoParaformer
from funrecipe.models.special_ids import SOS_ID
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.output import LossOutput
from funrecipe.train.objectives.seaco import loss_with_hotwords
from tools.parity.bicif import fine_head, later, step_seconds
from tools.parity.case import Case
from tools.parity.frontend import padded
from tools.parity.paraformer import FLOAT_TOLERANCE, groups_of, padding_as_in_funasr
from tools.parity.training import layer_drop_draws, leak_padding

BRANCH_TOLERANCE = 3e-4
MARKS = (0, 1, 2)


def load(folder: ModelFolder) -> SeacoParaformer:
    model = build_model(folder.config, len(folder.tokens)).eval()
    load_weights(model, folder.weights)
    return model


def hotword_ids(lists: dict[str, Any], name: str) -> list[list[int]]:
    """The words of a list as FunASR spelled them, without its final "none"."""
    assert lists["hotword_ids"][name][-1] == [1]
    return lists["hotword_ids"][name][:-1]


def choose(case: Case, model: SeacoParaformer, name: str, hidden: Tensor, lens: Tensor, context: Tensor) -> Tensor:
    """The vectors used in a group; those of the first utterance for all, as FunASR does (README, fact 5)."""
    chosen = model.choose_hotwords(hidden, lens, context)
    if f"{name}.asf_top" in case.expected:
        scores = model.seaco_decoder.attention_to(hidden, lens, context)
        alone = [
            model.seaco_decoder.attention_to(hidden[i : i + 1, : lens[i]], lens[i : i + 1], context)[0]
            for i in range(len(hidden))
        ]
        case.compare_values(f"({name}: scores alone = in a batch)", torch.stack(alone), scores, FLOAT_TOLERANCE)
        # FunASR sums over padded positions too; ours are compared where there are none
        longest = int(lens.max())
        for i, length in enumerate(lens.tolist()):
            if length == longest:
                theirs = case.expected[f"{name}.asf_scores_per_utterance"][i]
                case.compare_values(f"({name}: scores of {i})", scores[i], theirs, FLOAT_TOLERANCE)
        if len(hidden) == 1:
            case.compare(f"{name}.asf_scores_of_first", scores[0], FLOAT_TOLERANCE)
            case.compare(f"{name}.asf_scores_per_utterance", scores, FLOAT_TOLERANCE)
            case.compare(f"{name}.asf_top", scores[0].topk(50).indices)
            case.compare(f"{name}.context_used", chosen[0], FLOAT_TOLERANCE)
        else:
            top = torch.from_numpy(case.expected[f"{name}.asf_top"])
            chosen = torch.cat([context[top], context[-1:]]).expand(len(hidden), -1, -1)
            for part in ("asf_scores_of_first", "asf_scores_per_utterance", "asf_top"):
                case.covered(f"{name}.{part}", "the choice of a batch's first utterance, padding included (fact 5)")
            case.compare(f"{name}.context_used", chosen[0], FLOAT_TOLERANCE)
    else:
        case.compare(f"{name}.context_used", chosen[0], FLOAT_TOLERANCE)
    return chosen


def check_hotwords(
    case: Case, model: SeacoParaformer, name: str, context: Tensor, embeds: Tensor, hidden: Tensor, lens: Tensor
) -> None:
    used = choose(case, model, name, hidden, lens, context)
    by_sound = model.seaco_decoder.hidden(used, None, embeds, lens)
    by_text = model.seaco_decoder.hidden(used, None, hidden, lens)
    biased = model.hotword_output_layer(by_sound + by_text).log_softmax(-1)
    log_probs = model.decoder.output_layer(hidden).log_softmax(-1)
    merged = torch.where(biased.argmax(-1, keepdim=True) == model.no_bias_id, log_probs, biased)
    case.compare(f"{name}.cif_attended", by_sound, BRANCH_TOLERANCE)
    case.compare(f"{name}.dec_attended", by_text, BRANCH_TOLERANCE)
    case.compare(f"{name}.bias_log_probs", biased, BRANCH_TOLERANCE)
    case.compare(f"{name}.merged_log_probs", merged, BRANCH_TOLERANCE)
    compare_ids(case, f"{name}.argmax_ids", merged, lens)


def compare_ids(case: Case, key: str, log_probs: Tensor, lens: Tensor) -> None:
    theirs = torch.from_numpy(case.expected[key])
    valid = torch.arange(log_probs.size(1)) < lens[:, None]
    case.compare(key, torch.where(valid, log_probs.argmax(-1), theirs), note="past the length not compared")


def check_group(
    case: Case, model: SeacoParaformer, name: str, feats: Tensor, feat_lens: Tensor, lists: dict[str, Any]
) -> None:
    encoder_out, lens = model.encode(feats, feat_lens)
    cif = model.predict(encoder_out, lens)
    token_lens = cif.token_num.long()
    hidden = model.decoder.hidden(encoder_out, lens, cif.embeds, token_lens)
    log_probs = model.decode(encoder_out, lens, cif.embeds, token_lens)
    fine = model.predictor.fine_cif(encoder_out, lens, cif.token_num)
    found = {
        "encoder_out": encoder_out, "encoder_out_lens": lens, "alphas": cif.alphas, "cif_peak": cif.peaks,
        "token_num": cif.token_num, "acoustic_embeds": cif.embeds, "decoder_hidden": hidden,
        "asr_log_probs": log_probs, **fine_head(model.predictor, fine),
    }  # fmt: skip
    for part, ours in found.items():
        case.compare(f"{name}.none.{part}", ours, 0.0 if part in ("encoder_out_lens", "token_num") else FLOAT_TOLERANCE)
    compare_ids(case, f"{name}.none.argmax_ids", log_probs, token_lens)
    for words in ("two", "sixty"):
        context = model.encode_hotwords(hotword_ids(lists, words))
        if f"{words}.context_vectors" in case.expected:
            case.compare(f"{words}.context_vectors", context, FLOAT_TOLERANCE)
        check_hotwords(case, model, f"{name}.{words}", context, cif.embeds, hidden, token_lens)


def check_texts(case: Case, folder: ModelFolder, model: SeacoParaformer, lists: dict[str, Any]) -> None:
    """Texts and times of every utterance alone, and that a batch gives the same."""
    waves = [case.waveform(f"wav{i}") for i in range(len(case.inputs["feats_lens"]))]
    for words in ("none", "two", "fifty", "sixty", "odd"):
        recognizer = make_recognizer(model, folder, options=DecodeOptions())
        if words in lists["hotword_ids"]:
            recognizer.search.context = model.encode_hotwords(hotword_ids(lists, words))
        together = recognizer.transcribe(waves)
        for i, hypothesis in enumerate(together):
            (wanted,) = lists["results"][f"u{i}.{words}"]
            case.compare_values(f"texts:u{i}.{words}.text", hypothesis.text, wanted["text"])
            case.compare_values(f"texts:u{i}.{words}.timestamp", hypothesis.timestamp_ms, wanted["timestamp"])
    spelled = make_recognizer(model, folder, options=DecodeOptions(hotword=" ".join(lists["hotwords"]["two"])))
    ours = [h.text for h in spelled.transcribe(waves)]
    case.compare_values("texts:(spelled here)", ours, [lists["results"][f"u{i}.two"][0]["text"] for i in range(3)])
    feats, lens = recognizer.frontend(*padded([case.inputs["wav0"]]))
    encoder_out, lens = model.encode(feats, lens)
    cif = model.predict(encoder_out, lens)
    fine = model.predictor.fine_cif(encoder_out, lens, cif.token_num)
    ids = model.decode(encoder_out, lens, cif.embeds, cif.token_num.long())[0].argmax(-1).tolist()
    count = len([i for i in ids if i not in MARKS])
    (late,) = lists["results"]["u0.none.begin1230"]
    spans = later(align(fine.alphas[0], fine.peaks[0], count, step_seconds(case)), 1230)
    case.compare_values("texts:u0.none.begin1230.timestamp", token_times_ms(spans), late["timestamp"])


def check_losses(case: Case, folder: ModelFolder) -> None:
    """``train.with_decoder_seed3`` and ``train.seaco_only`` with the hotwords and labels of the case."""
    for prefix in sorted({key.rpartition(".loss")[0] for key in case.expected if key.endswith(".loss")}):
        rows = len(case.inputs["train.text"])
        subsets = [lost for count in range(rows, -1, -1) for lost in itertools.combinations(range(rows), count)]
        wanted = float(case.expected[f"{prefix}.loss_seaco"][0])
        runs = (train_once(case, folder, prefix, lost) for lost in subsets)
        output, model, lost = next(
            (run for run in runs if abs(run[0].stats["loss_seaco"] / wanted - 1) < 1e-4),
            train_once(case, folder, prefix, ()),
        )
        note = f"FunASR's float32 sum loses the last firing of rows {lost} (fact 3)" if lost else ""
        for name in ("loss", "loss_seaco", "loss_att", "acc"):
            if f"{prefix}.{name}" in case.expected:
                case.compare(f"{prefix}.{name}", torch.tensor([output.stats[name]]), 1e-4, relative=True, note=note)
        case.compare(f"{prefix}.weight", torch.tensor([int(output.weight)]))
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        norm = torch.stack([g.norm() for g in gradients.values()]).norm()
        case.compare(f"{prefix}.grad_norm", norm.reshape(1), 1e-3, relative=True)
        case.compare(f"{prefix}.n_grads", torch.tensor([len(gradients)]))
        for key in [key for key in case.expected if key.startswith(f"{prefix}.grad.")]:
            ours = gradients[key.removeprefix(f"{prefix}.grad.")]
            case.compare(key, ours, 1e-3 * float(abs(case.expected[key]).max()))


def train_once(
    case: Case, folder: ModelFolder, prefix: str, lost: tuple[int, ...]
) -> tuple[LossOutput, SeacoParaformer, tuple[int, ...]]:
    """Loss and gradients, with the last acoustic embedding of the rows ``lost`` zero."""
    feats, lens = torch.from_numpy(case.inputs["feats"]), torch.from_numpy(case.inputs["feats_lens"])
    given = {name.removeprefix("train."): value for name, value in case.inputs.items() if name.startswith("train.")}
    text, text_lens, labels = (torch.from_numpy(given[n]) for n in ("text", "text_lens", "seaco_label_pad"))
    rows = zip(given["hotword_pad"].tolist(), given["hotword_lengths"].tolist())
    words = [word[:length] for word, length in rows if word[:length] != [SOS_ID]]
    seed = re.search(r"_seed(\d+)", prefix)
    with torch.inference_mode(False), torch.enable_grad():
        model = load(folder)
        model.model_conf["train_decoder"] = "with_decoder" in prefix
        leak_padding(model)
        kept = torch.ones(len(text), int(text_lens.max()) + 1, 1)
        for row in lost:
            kept[row, text_lens[row]] = 0
        forward = model.predictor.forward
        model.predictor.forward = lambda *args, **kw: (c := forward(*args, **kw))._replace(embeds=c.embeds * kept)
        generator = torch.Generator().manual_seed(int(seed[1]) if seed else 0)
        torch.empty(draws_before_sampler(model)).uniform_(generator=generator)
        batch = copied(Batch([str(i) for i in range(len(text))], feats, lens, text, text_lens))
        output = loss_with_hotwords(model, batch, words, labels.clone(), generator)
        output.loss.backward()
    return output, model, lost


def draws_before_sampler(model: SeacoParaformer) -> int:
    """As ``layer_drop_draws``; FunASR runs the decoder twice before it samples, and the hotword decoder twice."""

    def layers(decoder: torch.nn.Module) -> int:
        return sum(len(getattr(decoder, name, ())) for name in ("decoders", "decoders2", "decoders3"))

    return layer_drop_draws(model) + layers(model.decoder) + 2 * layers(model.seaco_decoder)


def copied(batch: Batch) -> Batch:
    """Tensors that were made outside of inference mode."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return Batch(**{k: v.clone() if isinstance(v, Tensor) else v for k, v in values.items()})


def check_seaco(case: Case) -> None:
    folder = open_model_folder(case.path)
    model, lists = load(folder), case.json("hotwords_and_texts.json")
    with padding_as_in_funasr(model):
        for name, feats, feat_lens in groups_of(case):
            check_group(case, model, name, feats, feat_lens, lists)
    check_texts(case, folder, model, lists)
    check_losses(case, folder)


CASES = {"seaco_paraformer": check_seaco}
