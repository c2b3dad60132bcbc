"""The one table of model families. A family is one row: what builds it, searches it, streams it and trains it.

``module:name`` entries are imported when they are used, so the table itself loads no torch. Planning, decoding,
training, the Python façade and the table of ``docs/models.md`` all read it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from funrecipe.errors import UsageError, unknown_name

NONE: frozenset[str] = frozenset()
RECOGNITION = "recognition"
VAD, SPEAKER, PUNCTUATION, TIMESTAMP = "vad", "speaker", "punctuation", "timestamp"
TASKS = (RECOGNITION, VAD, SPEAKER, PUNCTUATION, TIMESTAMP)  # what the jobs of a run can do
WITH_TEXTS = frozenset({PUNCTUATION, TIMESTAMP})  # tasks whose utterances come with a text
TRANSCRIPTS, TEXTS, MARKED_TEXTS, SEGMENTS = "transcripts", "texts", "marked texts", "segments"
FUSION = frozenset({"lm_weight", "ngram_weight", "hotword"})
JOINT = FUSION | {"ctc_weight", "penalty", "maxlenratio", "minlenratio"}
PARAFORMER = frozenset(
    {"beam_size", "nbest", "ctc_weight", "lm_weight", "ngram_weight", "penalty", "minlenratio", "timestamp"}
)
TRANSDUCER = frozenset({"beam_size", "search_type", "score_norm"}) | FUSION
SPEAKERS = "egs/speaker/infer.sh, or pipeline(task='speaker-verification')"
UNIASR = frozenset(
    {"decoding_mode", "decoding_ind", "token_num_relax", "beam_size", "nbest", "penalty", "lm_weight", "ngram_weight"}
)
SENSE_VOICE = frozenset({"language", "use_itn", "ban_emo_unk", "output"})
# Keys of model_conf. Source: the arguments of FunASR 0.8.8's model classes and where their forward uses them.
LOSS_SETTINGS = frozenset({"lsm_weight", "length_normalized_loss"})
CIF_SETTINGS = LOSS_SETTINGS | {"ctc_weight", "predictor_weight", "predictor_bias", "sampling_ratio"}
HOTWORD_SETTINGS = frozenset(
    {"sample_rate", "double_rate", "min_hw_length", "max_hw_length"}
    | {"inner_dim", "bias_encoder_type", "use_decoder_embedding"}
)
TRANSDUCER_SETTINGS = LOSS_SETTINGS | {
    *("transducer_weight", "fastemit_lambda", "auxiliary_ctc_weight", "auxiliary_ctc_dropout_rate"),
    *("auxiliary_att_weight", "auxiliary_lm_loss_weight", "auxiliary_lm_loss_smoothing"),
}

ENCODE_ONLY, ALL_STEPS = ("encode",), ("encode", "predict", "decode")


@dataclass(frozen=True)
class Family:
    """One architecture family, named by the key ``model`` of ``config.yaml``.

    Attributes:
        summary: what it is, for ``docs/models.md``.
        build: ``(config, input_size, vocab_size) -> nn.Module``, in ``funrecipe.models``.
        search: class ``(model, folder, options)`` that decodes whole utterances, in ``funrecipe.decode``; None: it
            does not decode.
        stream: class ``(model, folder, options)`` that decodes piece by piece, in ``funrecipe.decode``.
        export: network that ``funrecipe export`` writes, in ``funrecipe.export``; None: it cannot be exported.
        export_search, export_stream: classes like ``search`` and ``stream`` that decode an exported model.
        exported_type: what sherpa-onnx calls an exported model.
        objective: ``(model, batch, generator) -> LossOutput``, in ``funrecipe.train.objectives``; None: not trainable.
        zoo_modes: what ModelScope's ``configuration.json`` and ``pipeline(mode=...)`` call it.
        options: the decode options that ``search`` uses; any other one that was set is refused.
        decoding_modes: values of ``decoding_mode`` and the options that only they use; the first is the default.
        beam_scores: options of which one makes ``search`` a beam search, where it is not always one.
        stream_options, export_options: the decode options that ``stream`` and ``export_search`` use.
        has_times: whether ``search`` gives the time of every token without being asked.
        tiled: methods of the network by which ``search`` computes, and which a GPU computes in tiles.
        task: what jobs do with it; recognizers with a ``timestamp`` option also align known texts.
        instead: what a model that does not recognize speech is used with.
        unsupported: why a family that is known by name does not run here.
        classes_1x: what FunASR 1.x calls it in ``config.yaml``, the name of version 1.4 first.
        settings: the keys of ``model_conf`` that its training uses; None: they are checked where the model is built.
        fixed_settings: further keys, with the one value that is supported (``...``: any value, without effect).
        trained_on: what its training data say: TRANSCRIPTS of recordings, TEXTS, MARKED_TEXTS, or SEGMENTS of speech.
        measure: class ``(folder)`` of what validation measures by decoding, in ``funrecipe.train``; None: the error
            rate of what ``search`` finds.
        hub_task: what ``configuration.json`` calls its task.
        has_rich_labels: whether it tells language, emotion and event, and is trained on labels of them.
        has_accuracy: whether its training counts right tokens; otherwise epochs are ranked by the loss.
        validation: decode options of validation in training.
        has_tokens, has_cmvn: whether its folder needs a token list, ``am.mvn``.
        folder_mode: what ``configuration.json`` calls it by default; None: as the family.
        threshold: the cosine from which two recordings count as of one speaker, of the released models.
        starts_training: an encoder that fine-tuning can begin from, although it does not run by itself.
    """

    summary: str
    build: str | None = None
    search: str | None = None
    stream: str | None = None
    objective: str | None = None
    export: str | None = None
    export_search: str | None = None
    export_stream: str | None = None
    exported_type: str = "paraformer"
    zoo_modes: tuple[str, ...] = ()
    options: frozenset[str] = NONE
    decoding_modes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    beam_scores: frozenset[str] = NONE
    stream_options: frozenset[str] = NONE
    export_options: frozenset[str] = NONE
    has_times: bool = False
    tiled: tuple[str, ...] = ()
    task: str = RECOGNITION
    instead: str | None = None
    unsupported: str | None = None
    classes_1x: tuple[str, ...] = ()
    settings: frozenset[str] | None = None
    fixed_settings: Mapping[str, Any] = field(default_factory=dict)
    trained_on: str = TRANSCRIPTS
    measure: str | None = None
    hub_task: str = "auto-speech-recognition"
    has_rich_labels: bool = False
    has_accuracy: bool = True
    validation: Mapping[str, Any] = field(default_factory=dict)
    has_tokens: bool = True
    has_cmvn: bool = True
    folder_mode: str | None = None
    threshold: float | None = None
    starts_training: bool = False


def _speaker_family(kind: str, build: str, threshold: float, *classes_1x: str) -> Family:
    return Family(
        f"speaker embeddings ({kind})",
        build=build,
        options=frozenset({"windows"}),
        task=SPEAKER,
        instead=SPEAKERS,
        has_tokens=False,
        has_cmvn=False,  # the features have the mean of the utterance subtracted, or no normalization
        threshold=threshold,
        classes_1x=classes_1x,
    )


_PARAFORMER = Family(
    "non-autoregressive, CIF predictor",
    build="paraformer:build_paraformer",
    search="paraformer:ParaformerSearch",
    tiled=ALL_STEPS,
    objective="paraformer:paraformer_loss",
    export="networks:ExportedParaformer",
    export_search="onnx:OnnxParaformerSearch",
    zoo_modes=("paraformer",),
    options=PARAFORMER,
    beam_scores=frozenset({"ctc_weight", "lm_weight", "ngram_weight", "nbest"}),
    classes_1x=("Paraformer",),
    settings=CIF_SETTINGS | {"use_1st_decoder_loss"},
)
_CONTEXTUAL = replace(
    _PARAFORMER,
    summary="Paraformer with hotwords (CLAS)",
    build="contextual_paraformer:build_contextual_paraformer",
    search="paraformer:ContextualParaformerSearch",
    export="networks:ExportedContextualParaformer",
    export_search="onnx:OnnxHotwordSearch",
    options=PARAFORMER | {"hotword", "clas_scale"},
    export_options=frozenset({"hotword"}),
    classes_1x=("ContextualParaformer",),
    settings=CIF_SETTINGS | HOTWORD_SETTINGS,
)
_TRANSDUCER = Family(
    "transducer",
    build="transducer:build_transducer",
    search="transducer:TransducerRecognition",
    tiled=ENCODE_ONLY,
    stream="transducer:TransducerSteps",
    objective="autoregressive:rnnt_loss",
    zoo_modes=("rnnt",),
    options=TRANSDUCER | {"nbest", "decoding_mode"},
    decoding_modes={"full_utt": NONE, "simu_chunk": NONE},
    stream_options=TRANSDUCER,
    classes_1x=("Transducer",),
    settings=TRANSDUCER_SETTINGS,
    has_accuracy=False,
    validation={"beam_size": 1},
)
FAMILIES: dict[str, Family] = {
    "paraformer": _PARAFORMER,
    "paraformer_bert": replace(
        _PARAFORMER,
        summary="Paraformer trained with a BERT teacher",
        build="paraformer:build_paraformer_bert",
        objective=None,
        classes_1x=(),
        settings=None,
    ),
    "bicif_paraformer": replace(
        _PARAFORMER,
        summary="Paraformer with timestamps by a second CIF",
        build="bicif_paraformer:build_bicif_paraformer",
        search="paraformer:BiCifParaformerSearch",
        export="networks:ExportedBiCifParaformer",
        has_times=True,
        classes_1x=("BiCifParaformer",),
        settings=CIF_SETTINGS,
    ),
    "contextual_paraformer": _CONTEXTUAL,
    "neatcontextual_paraformer": replace(
        _CONTEXTUAL,
        summary="Paraformer with hotwords (CLAS), the name of later releases",
        classes_1x=("NeatContextualParaformer",),
    ),
    "seaco_paraformer": replace(
        _CONTEXTUAL,
        summary="Paraformer with timestamps and hotwords by a decoder of their own (SeACo)",
        build="seaco_paraformer:build_seaco_paraformer",
        search="paraformer:SeacoParaformerSearch",
        export="networks:ExportedSeacoParaformer",
        export_search="onnx:OnnxSeacoSearch",
        objective="seaco:seaco_loss",
        has_times=True,
        options=PARAFORMER | {"hotword"},
        classes_1x=("SeacoParaformer",),
        settings=LOSS_SETTINGS
        | HOTWORD_SETTINGS
        | {"predictor_bias", "sampling_ratio", "seaco_weight", "seaco_lsm_weight", "seaco_length_normalized_loss"}
        | {"train_decoder", "NO_BIAS", "bias_encoder_bid", "bias_encoder_dropout_rate"},
        fixed_settings=dict.fromkeys(("ctc_weight", "predictor_weight", "seaco_length_normal"), ...),
    ),
    "paraformer_online": replace(
        _PARAFORMER,
        summary="Paraformer over chunks of 600 ms",
        build="paraformer_online:build_paraformer_online",
        search="paraformer_online:ChunkedParaformerSearch",
        tiled=(),
        stream="paraformer_online:ParaformerOnlineSteps",
        export="streams:ExportedParaformerOnline",
        export_search="onnx_online:OnnxOnlineSearch",
        export_stream="onnx_online:OnnxOnlineSteps",
        zoo_modes=("paraformer_streaming", "paraformer_fake_streaming"),
        folder_mode="paraformer_streaming",
        classes_1x=("ParaformerStreaming",),
        options=PARAFORMER - {"timestamp"} | {"decoding_ind"},
        settings=CIF_SETTINGS | {"use_1st_decoder_loss", "decoder_attention_chunk_type"},
    ),
    "uniasr": Family(
        "two passes, chunked and whole, in one model (SCAMA)",
        build="uniasr:build_uniasr",
        search="uniasr:UniASRSearch",
        objective="chunked:uniasr_loss",
        zoo_modes=("uniasr",),
        options=UNIASR,
        classes_1x=("UniASR",),
        settings=LOSS_SETTINGS
        | {"ctc_weight", "predictor_weight", "decoder_attention_chunk_type"}
        | {"ctc_weight2", "predictor_weight2", "loss_weight_model1", "decoder_attention_chunk_type2"}
        | {"enable_maas_finetune", "freeze_encoder2", "encoder1_encoder2_joint_training"},
    ),
    "asr": Family(
        "CTC/attention: Conformer, Transformer, SAN-M or data2vec encoder",
        build="ctc_attention:build_ctc_attention",
        search="ctc_attention:CTCAttentionSearch",
        tiled=ENCODE_ONLY,
        objective="autoregressive:ctc_attention_loss",
        export="networks:ExportedCTC",
        export_search="onnx:OnnxCTCSearch",
        exported_type="ctc",
        zoo_modes=("asr",),
        options=JOINT | {"beam_size", "nbest", "decoding_mode", "timestamp"},
        decoding_modes={"joint": JOINT, "ctc_greedy": NONE, "ctc_prefix": NONE},
        classes_1x=("Conformer", "Transformer"),
        settings=LOSS_SETTINGS | {"ctc_weight"},
        validation={"beam_size": 1},
    ),
    "rnnt": _TRANSDUCER,
    "rnnt_unified": replace(
        _TRANSDUCER,
        summary="transducer trained for whole utterances and for chunks",
        folder_mode="rnnt",
        classes_1x=("UnifiedTransducer",),
    ),
    "sense_voice": Family(
        "SenseVoiceSmall: recognition with language, emotion and event tags",
        build="sense_voice:build_sense_voice",
        search="sense_voice:SenseVoiceSearch",
        tiled=ENCODE_ONLY,
        objective="sense_voice:sense_voice_loss",
        export="networks:ExportedSenseVoice",
        export_search="onnx:OnnxSenseVoiceSearch",
        exported_type="sense_voice_ctc",
        has_rich_labels=True,
        has_times=True,
        zoo_modes=("sense_voice",),
        options=SENSE_VOICE,
        export_options=SENSE_VOICE,
        classes_1x=("SenseVoiceSmall",),
        settings=LOSS_SETTINGS,
        has_accuracy=False,
    ),
    "e2evad": Family(
        "voice activity detection (FSMN)",
        build="fsmn_vad:build_fsmn_vad",
        objective="vad:vad_loss",
        trained_on=SEGMENTS,
        measure="measures:SegmentMeasure",
        hub_task="voice-activity-detection",
        export="streams:ExportedVad",
        exported_type="fsmn_vad",
        task=VAD,
        has_tokens=False,
        folder_mode="offline",
        classes_1x=("FsmnVADStreaming", "FsmnVAD"),
        instead="egs/vad/infer.sh, pipeline(task='voice-activity-detection') or a recognizer's --vad_model",
    ),
    "punc": Family(
        "punctuation (CT-Transformer)",
        build="ct_transformer:build_ct_transformer",
        task=PUNCTUATION,
        objective="punctuation:punctuation_loss",
        trained_on=MARKED_TEXTS,
        measure="measures:MarkMeasure",
        settings=frozenset({"ignore_id", "punc_weight"}),
        fixed_settings={"punc_list": ...},  # exported models have it there, too
        hub_task="punctuation",
        classes_1x=("CTTransformer", "CTTransformerStreaming"),
        export="punctuation:ExportedPunctuation",
        exported_type="ct_transformer",
        instead="egs/punctuation/infer.sh, pipeline(task='punctuation') or a recognizer's --punc_model",
    ),
    "campplus": _speaker_family("CAM++", "campplus:build_campplus", 0.31, "CAMPPlus"),
    "eres2netv2": _speaker_family(
        "ERes2NetV2",
        "eres2netv2:build_eres2netv2",
        0.36,
        *("ERes2NetV2", "iic/speech_eres2netv2_sv_zh-cn_16k-common"),  # 1.x also registers the name of its release
    ),
    "sv": _speaker_family("x-vector", "xvector:build_xvector", 0.9465),
    "lm": Family(
        "language model for shallow fusion and perplexity",
        build="lm:build_language_model",
        objective="autoregressive:language_model_loss",
        trained_on=TEXTS,
        classes_1x=("TransformerLM",),
        settings=NONE,
        fixed_settings={"ignore_id": 0},
        has_accuracy=False,
        instead="a recognizer: --lm_weight with the model as lm.pb in its folder, or funrecipe perplexity",
    ),
    "mfcca": Family("multi-channel recognition", unsupported="multi-channel multi-talker recognition"),
    "sa_asr": Family("speaker-attributed recognition", unsupported="speaker-attributed recognition"),
    "timestamp_prediction": Family(
        "timestamps of a known text",
        build="bicif_paraformer:build_timestamp_predictor",
        task=TIMESTAMP,
        classes_1x=("MonotonicAligner",),
        instead="egs/timestamp/infer.sh, or pipeline(task='speech-timestamp')",
    ),
    "bat": Family("boundary-aware transducer", unsupported="boundary-aware transducer", classes_1x=("BAT",)),
    "data2vec": Family(
        "self-supervised encoder",
        has_tokens=False,
        starts_training=True,
        unsupported="it does not recognize by itself, fine-tune it: egs/asr/finetune.sh --target_config",
    ),
    "sond": Family("speaker diarization", unsupported="diarization"),
    "eend_ola": Family("speaker diarization", unsupported="diarization"),
}


def names_with(part: str) -> list[str]:
    """The families whose row has ``part`` (``build``, ``search``, ``stream``, ``objective``), in order."""
    return sorted(name for name, family in FAMILIES.items() if getattr(family, part))


def find_family(name: str) -> Family:
    """The row of a family that runs here.

    Raises:
        UsageError: the name is not known, or the family is known and not supported; says why.
    """
    family = FAMILIES.get(name)
    if family is None:
        raise unknown_name("unknown model family", name, FAMILIES, where="config.yaml: model")
    if family.unsupported:
        raise UsageError(f"models of family '{name}' are not supported ({family.unsupported})")
    return family


def not_a_recognizer(name: str, where: str | None = None) -> UsageError:
    """The error for a model of a known family that does not recognize speech: what it is, what to use it with."""
    family = find_family(name)
    return UsageError(
        f"a model of family '{name}' does not recognize speech: {family.summary}",
        where=where,
        hint=f"use it with {family.instead}" if family.instead else f"use one of: {', '.join(names_with('search'))}",
    )


def load_part(entry: str, package: str) -> Any:
    """What ``module:name`` below ``funrecipe.<package>`` stands for."""
    module, _, name = entry.partition(":")
    return getattr(importlib.import_module(f"funrecipe.{package}.{module}"), name)
