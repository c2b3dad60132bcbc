"""Case ``sensevoice_small``: encoder, CTC, tags and texts of every language, times, rich text, both losses."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch

from funrecipe.checkpoint import load_weights
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.decode.sense_voice import SenseVoiceSearch
from funrecipe.decode.timestamps import align_tokens
from funrecipe.model_folder import ModelFolder, open_model_folder
from funrecipe.models.registry import build_model
from funrecipe.models.sense_voice import EMOTION_EVENT_ROWS, ITN_ROWS, LANGUAGE_ROWS, QUERIES
from funrecipe.text.rich import draw_tags
from funrecipe.text.units import WORD_MARK
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.compute import compute_loss
from tools.parity.case import Case
from tools.parity.frontend import padded

FLOAT_TOLERANCE = 1e-4
SWITCH = {"woitn": False, "withitn": True}


def recognizer_of(folder: ModelFolder, language: str, itn: str, **options: object):
    chosen = DecodeOptions(language=language, use_itn=SWITCH[itn], output="rich", **options)
    return load_recognizer(folder, options=chosen)


def check_rows(case: Case, search: SenseVoiceSearch) -> None:
    rows = case.json("query_rows.json")
    case.compare_values("query_rows.json:language", dict(LANGUAGE_ROWS), rows["language_row"])
    case.compare_values("query_rows.json:itn", dict(ITN_ROWS), rows["itn_row"])
    case.compare_values("query_rows.json:event_emotion", list(EMOTION_EVENT_ROWS), rows["event_emotion_rows"])
    labels = {int(k): v for k, v in (rows["label_id_to_language_row"] | rows["label_id_to_itn_row"]).items()}
    case.compare_values("query_rows.json:labels", search.model.label_rows, labels)


def check_encoder(case: Case, folder: ModelFolder) -> None:
    feats, lens = torch.from_numpy(case.inputs["feats"]), torch.from_numpy(case.inputs["feats_lens"])
    frontend = recognizer_of(folder, "auto", "woitn").frontend
    ours, our_lens = frontend(*padded([case.inputs[f"wav{i}"] for i in range(len(lens))]))
    case.compare_values("(features)", ours, feats, 2e-3)
    case.compare_values("(feature lengths)", our_lens, lens)
    for key in sorted(case.expected):
        if not (match := re.fullmatch(r"(batch|u(\d+))\.(\w+)_(\w+)\.encoder_out", key)):
            continue
        group, row, language, itn = match.groups()
        prefix = f"{group}.{language}_{itn}"
        search = recognizer_of(folder, language, itn).search
        mine = (feats, lens) if row is None else (feats[int(row), None, : lens[int(row)]], lens[int(row), None])
        queried = (torch.full_like(mine[1], search.language_row), torch.full_like(mine[1], search.itn_row))
        encoder_out, out_lens = search.model.encode(*mine, *queried)
        log_probs, _ = search.log_probs(*mine)
        # FunASR leaves its last LayerNorm's output in padded frames; here they are zero
        valid = torch.arange(encoder_out.size(1))[None, :, None] < out_lens[:, None, None]
        case.expected[key] = np.where(valid.numpy(), case.expected[key], 0.0)
        case.compare(key, encoder_out, FLOAT_TOLERANCE, note="padded frames not compared")
        for name, value, tolerance in (
            ("encoder_out_lens", out_lens, 0.0),
            ("ctc_argmax", None, 0.0),
            ("ctc_log_probs_4", log_probs[:, :12], FLOAT_TOLERANCE),
            ("ctc_log_probs", log_probs, FLOAT_TOLERANCE),
        ):
            if f"{prefix}.{name}" not in case.expected:
                continue
            if name == "ctc_argmax":
                theirs, best = case.expected[f"{prefix}.{name}"], log_probs.argmax(-1)
                case.compare(f"{prefix}.{name}", torch.where(valid[:, :, 0], best, torch.from_numpy(theirs)))
            else:
                value = value[:, : case.expected[f"{prefix}.{name}"].shape[1]] if value.dim() == 3 else value
                case.compare(f"{prefix}.{name}", value, tolerance)


def check_texts(case: Case, folder: ModelFolder) -> None:
    texts = case.json("texts.json")
    tokens = folder.tokenizer
    for key, wanted in texts.items():
        if not (match := re.fullmatch(r"u(\d+)\.(\w+)\.(\w+)", key)):
            continue
        number, language, itn = match.groups()
        recognizer = recognizer_of(folder, language, itn)
        wave = case.waveform(f"wav{number}")
        hypothesis = recognizer.transcribe([wave])[0]
        case.compare_values(f"texts.json:{key}.text", hypothesis.text, wanted["text"])
        case.compare_values(f"texts.json:{key}.rich", draw_tags(hypothesis.text), wanted["rich"])
        if "direct" not in wanted:
            continue
        direct = wanted["direct"]
        case.compare_values(f"texts.json:{key}.token_int", tokens.ids_of(hypothesis.tokens), direct["token_int"])
        case.compare_values(f"texts.json:{key}.pieces", hypothesis.tokens, direct["pieces"])
        case.compare_values(f"texts.json:{key}.piece_times", hypothesis.timestamp_ms, direct["piece_times"])
        words, spans = join_pieces(hypothesis.tokens, hypothesis.timestamp_ms)
        case.compare_values(f"texts.json:{key}.words", words, direct["words"])
        case.compare_values(f"texts.json:{key}.timestamp", spans, direct["timestamp"])
        if f"{key}.alignment" in case.expected:
            feats, lens = recognizer.frontend(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
            log_probs, _ = recognizer.search.log_probs(feats, lens)
            path = align_tokens(log_probs[0, QUERIES:].numpy(), direct["token_int"])
            case.compare(f"{key}.alignment", path)


def check_batches(case: Case, folder: ModelFolder) -> None:
    texts = case.json("texts.json")
    waves = [case.waveform(f"wav{i}") for i in range(6)]
    for key, language, itn, options in (
        ("batch_auto_woitn_text", "auto", "woitn", {}),
        ("batch_auto_withitn", "auto", "withitn", {}),
        ("batch_text_norm_withitn", "auto", "withitn", {}),
        ("batch_ban_emo_unk", "auto", "woitn", {"ban_emo_unk": True}),
        ("batch_ban_emo_unk_nospeech", "nospeech", "woitn", {"ban_emo_unk": True}),
    ):
        if key in texts:
            found = recognizer_of(folder, language, itn, **options).transcribe(waves)
            ours = [{"text": h.text, "rich": draw_tags(h.text)} for h in found]
            case.compare_values(f"texts.json:{key}", ours, texts[key])
    plain = recognizer_of(folder, "auto", "woitn")
    for key in texts:
        if key in case.inputs:
            found = plain.transcribe([case.waveform(key)])
            case.compare_values(f"texts.json:{key}", found[0].text, texts[key]["text"])
    for i, rich in enumerate(texts["rich_cases"]):
        case.compare_values(f"texts.json:rich_cases[{i}]", draw_tags(rich["in"]), rich["out"])


def check_losses(case: Case, folder: ModelFolder) -> None:
    """``train.<norm|unnorm>_seed<n>``: the rows that are asked for, losses, gradients."""
    feats, lens = torch.from_numpy(case.inputs["feats"]), torch.from_numpy(case.inputs["feats_lens"])
    for prefix in sorted({key.rpartition(".loss")[0] for key in case.expected if key.endswith(".loss")}):
        variant, seed = re.fullmatch(r"train\.(\w+)_seed(\d+)", prefix).groups()
        text, text_lens = (torch.from_numpy(case.inputs[f"train.{variant}.{name}"]) for name in ("text", "text_lens"))
        batch = Batch([str(i) for i in range(len(text))], feats, lens, text[:, QUERIES:], text_lens - QUERIES)
        batch.labels = text[:, :QUERIES]
        with torch.inference_mode(False), torch.enable_grad():
            model = build_model(folder.config, len(folder.tokens))
            load_weights(model, folder.weights)
            model.model_conf["length_normalized_loss"] = variant == "norm"
            generator = torch.Generator().manual_seed(int(seed))
            output = compute_loss(folder.family, model, batch.to(torch.device("cpu")), generator)
            output.loss.backward()
        drawn = torch.Generator().manual_seed(int(seed))
        case.compare(f"{prefix}.rand", torch.cat([torch.rand(1, generator=drawn) for _ in range(len(text))]))
        case.compare(f"{prefix}.language_rows", output.extras["language_rows"])
        for name in ("loss", "loss_ctc", "loss_rich", "acc_rich"):
            case.compare(f"{prefix}.{name}", torch.tensor([output.stats[name]]), 1e-4, relative=True)
        case.compare(f"{prefix}.weight", torch.tensor([int(output.weight)]))
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        norm = torch.stack([g.norm() for g in gradients.values()]).norm()
        case.compare(f"{prefix}.grad_norm", norm.reshape(1), 1e-3, relative=True)
        for key in [key for key in case.expected if key.startswith(f"{prefix}.grad.")]:
            gradient = gradients[key.removeprefix(f"{prefix}.grad.")]
            ours = gradient.norm(dim=1) if key.endswith("embed.weight") else gradient
            case.compare(key, ours, 1e-3 * float(abs(case.expected[key]).max()))


def check_sense_voice(case: Case) -> None:
    folder = open_model_folder(case.path)
    check_rows(case, recognizer_of(folder, "auto", "woitn").search)
    check_encoder(case, folder)
    check_texts(case, folder)
    check_batches(case, folder)
    check_losses(case, folder)


CASES = {"sensevoice_small": check_sense_voice}


def join_pieces(pieces: Sequence[str], times_ms: Sequence[Sequence[int]]) -> tuple[list[str], list[list[int]]]:
    """Words and their ``[start, end]`` in ms from timed pieces (SenseVoice's rule).

    A piece with the word mark begins a word, as does every piece that is not plain Latin letters; Latin letters after
    a Latin word belong to it.
    """
    words: list[str] = []
    spans: list[list[int]] = []
    for piece, (start, end) in zip(pieces, times_ms, strict=True):
        if piece == WORD_MARK:
            continue
        if not words:
            words.append(piece)
        elif piece.startswith(WORD_MARK):
            words.append(piece[1:])
        elif _is_latin(words[-1]) and _is_latin(piece):
            words[-1] += piece
            spans[-1][1] = end
            continue
        else:
            words.append(piece)
        spans.append([start, end])
    return words, spans


def _is_latin(text: str) -> bool:
    return text.isascii() and text.isalpha()
