"""Exported models say what the models say: alone and in batches, in files that FunASR and sherpa-onnx read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from funrecipe.checkpoint import load_state_dict, save_checkpoint
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.decode.streaming import StreamOptions, load_streaming_recognizer
from funrecipe.errors import DataError, UsageError
from funrecipe.export.compare import compare_exported, greedy_options
from funrecipe.export.folder import export_folder, export_network, read_samples
from funrecipe.export.graph import Graph, quantize, write_graph
from funrecipe.export.networks import blank_past, integrate
from funrecipe.families import FAMILIES, names_with
from funrecipe.model_folder import open_model_folder
from funrecipe.models.cif import integrate_and_fire
from funrecipe.pipelines import Tasks, pipeline
from funrecipe.punctuation.punctuator import load_punctuator
from funrecipe.vad.detector import join_events, load_detector

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
ROOT = Path(__file__).resolve().parents[2]
PARITY = ROOT / "tests/data/parity"
CASES = (
    "paraformer",
    "bicif_paraformer",
    "transformer",
    "conformer",
    "sensevoice_small",
    "contextual_paraformer",
    "seaco_paraformer",
    "paraformer_online",
)
QUANTIZED = ("paraformer", "paraformer_online")


@pytest.fixture(scope="module")
def waves() -> dict[str, np.ndarray]:
    with np.load(PARITY / "sensevoice_small/io.npz") as arrays:
        waves = {f"u{i}": arrays[f"in.wav{i}"].astype(np.float32) / 32768 for i in range(4)}
    return {**waves, "short": np.zeros(900, np.float32), "nothing": np.zeros(40, np.float32)}


@pytest.fixture(scope="module", params=CASES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, waves: dict[str, np.ndarray]):
    target = tmp_path_factory.mktemp("export") / request.param
    folder = open_model_folder(PARITY / request.param)
    return folder, target, export_folder(folder, target, waves, quantized=request.param in QUANTIZED)


def test_tokens_times_and_log_probabilities_are_equal_alone_and_in_a_batch(exported, waves) -> None:
    folder, target, report = exported
    assert report["fp32"].holds, str(report["fp32"])
    assert report["fp32"].compared == len(waves)
    assert json.loads((target / "export.json").read_text())["fp32"]["holds"] is True
    theirs = load_recognizer(open_model_folder(target), options=DecodeOptions(engine="onnx"))
    alone = [theirs.transcribe([wave])[0] for wave in waves.values()]
    together = theirs.transcribe(list(waves.values()))
    assert [(h.tokens, h.timestamp_ms) for h in alone] == [(h.tokens, h.timestamp_ms) for h in together]
    assert any(h.text for h in together)
    if folder.family != "paraformer_online":  # whose exported form decodes whole files as streams
        ours = load_recognizer(folder, options=greedy_options(folder)).transcribe(list(waves.values()))
        assert [h.text for h in together] == [h.text for h in ours]


def test_the_folder_has_what_other_runtimes_read(exported) -> None:
    folder, target, _ = exported
    tokens = json.loads((target / "tokens.json").read_text("utf-8"))
    assert tokens == list(folder.tokens)
    assert (target / "tokens.txt").read_text("utf-8").split("\n")[1] == f"{tokens[1]} 1"
    config = yaml.safe_load((target / "config.yaml").read_text("utf-8"))
    assert config["frontend_conf"]["fs"] == 16000 and not config["model_conf"].get("predictor_bias")
    graph = onnx.load(str(target / "model.onnx"))
    told = {entry.key: entry.value for entry in graph.metadata_props}
    assert told["vocab_size"] == str(len(tokens)) and told["lfr_window_shift"] == str(
        folder.config["frontend_conf"].get("lfr_n", 1)
    )
    assert len(told["neg_mean"].split(",")) == len(told["inv_stddev"].split(","))
    assert [item.name for item in graph.graph.input][:2] == ["speech", "speech_lengths"]
    dimensions = graph.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param for d in dimensions[:2]] == ["batch", "frames"]


def test_an_exported_folder_refuses_what_only_torch_can_do(exported) -> None:
    folder, target, report = exported
    model = open_model_folder(target)
    with pytest.raises(UsageError, match="not a model for engine torch"):
        load_recognizer(model, options=DecodeOptions(engine="torch"))
    with pytest.raises(UsageError, match="not a model for engine onnx"):
        load_recognizer(folder, options=DecodeOptions(engine="onnx"))
    with pytest.raises(UsageError, match="no bf16 graph"):
        load_recognizer(model, options=DecodeOptions(precision="bf16"))
    with pytest.raises(UsageError, match="has no effect"):
        load_recognizer(model, options=DecodeOptions(nbest=3))
    with pytest.raises(UsageError, match="is not for an exported model"):
        load_recognizer(model, weights=folder.weights)
    if "int8" not in report:
        with pytest.raises(UsageError, match="no int8 graph"):
            load_recognizer(model, options=DecodeOptions(precision="int8"))


@pytest.mark.parametrize("exported", ["paraformer"], indirect=True)
def test_int8_is_a_graph_of_its_own_that_decodes(exported, waves) -> None:
    _, target, report = exported
    assert "int8" in report
    small = load_recognizer(open_model_folder(target), options=DecodeOptions(precision="int8"))
    assert len(small.transcribe(list(waves.values()))) == len(waves)
    graph = onnx.load(str(target / "model_quant.onnx")).graph
    assert not [n.name for n in graph.node if "cif_output" in n.name and n.op_type == "MatMulInteger"]


def test_int8_weights_are_signed_and_their_sums_do_not_saturate(tmp_path: Path) -> None:
    """Uniform weights and inputs of one sign, of which CPUs without VNNI would lose a tenth of the sums."""
    torch.manual_seed(0)
    layer, x = nn.Linear(512, 64, bias=False).requires_grad_(False), torch.rand(20, 512)
    example = Graph(layer, (x,), ["x"], ["y"], {"x": {0: "rows"}, "y": {0: "rows"}})
    write_graph(example, tmp_path / "model.onnx", {})
    quantized = quantize(tmp_path / "model.onnx")
    (weight,) = (tensor for tensor in onnx.load(str(quantized)).graph.initializer if "_quantized" in tensor.name)
    codes = onnx.numpy_helper.to_array(weight).astype(int)
    assert weight.data_type == onnx.TensorProto.INT8 and np.abs(codes).max() > 63
    pairs = codes.reshape(256, 2, 64)
    assert 255 * max(pairs.clip(min=0).sum(1).max(), -pairs.clip(max=0).sum(1).min()) < 2**15
    (found,) = onnxruntime.InferenceSession(str(quantized)).run(None, {"x": x.numpy()})
    wanted = layer(x).numpy()
    assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 0.015


def test_the_quick_start_model_says_the_same_through_the_pipeline(tmp_path: Path) -> None:
    folder = open_model_folder(ROOT / "egs/quickstart/model")
    waves = read_samples(folder, ROOT / "egs/quickstart/data", 4)
    assert export_folder(folder, tmp_path / "onnx", waves, quantized=False)["fp32"].holds
    recognize = pipeline(Tasks.auto_speech_recognition, tmp_path / "onnx", ngpu=0)
    wave = next(iter(waves.values()))
    ours = load_recognizer(folder, options=greedy_options(folder)).transcribe([wave])[0]
    assert recognize(wave)["tokens"] == ours.tokens


def test_a_difference_is_found_and_named(exported, waves) -> None:
    folder, target, _ = exported
    if folder.family == "paraformer_online":
        return
    network = export_network(folder)
    with torch.no_grad():
        next(p for n, p in network.named_parameters() if "feed_forward.w_1.weight" in n).mul_(1.5)
    found = compare_exported(folder, network, target, waves)
    assert not found.holds and found.largest_difference > 2e-3


def test_targets_are_not_overwritten_and_need_audio(exported, waves, tmp_path: Path) -> None:
    folder, target, _ = exported
    with pytest.raises(DataError, match="not empty"):
        export_folder(folder, target, waves, quantized=False)
    with pytest.raises(DataError, match="nothing to compare"):
        export_folder(folder, tmp_path / "x", {}, quantized=False)
    with pytest.raises(UsageError, match="already an export"):
        export_folder(open_model_folder(target), tmp_path / "x", waves, quantized=False)
    assert not (tmp_path / "x").exists()


def test_hotwords_work_in_an_exported_model_as_in_torch(exported, waves) -> None:
    folder, target, _ = exported
    if "hotword" not in FAMILIES[folder.family].options or folder.family == "asr":
        return
    words = " ".join(token for token in folder.tokens[5:40:4] if "@" not in token and "<" not in token)
    theirs = load_recognizer(open_model_folder(target), options=DecodeOptions(hotword=words))
    ours = load_recognizer(folder, options=DecodeOptions(hotword=words))
    plain = load_recognizer(open_model_folder(target))
    found = [h.tokens for h in theirs.transcribe(list(waves.values()))]
    assert found == [ours.transcribe([wave])[0].tokens for wave in waves.values()]
    assert found != [h.tokens for h in plain.transcribe(list(waves.values()))]


@pytest.mark.parametrize("count", [49, 50, 120])
def test_any_number_of_hotwords_can_be_given(exported, waves, count: int) -> None:
    """From 50 on SeACo chooses the 50 best for every utterance."""
    folder, target, _ = exported
    if "hotword" not in FAMILIES[folder.family].options or folder.family == "asr":
        return
    letters = [token for token in folder.tokens[3:] if "@" not in token and not token.isascii()]
    n = len(letters)
    options = DecodeOptions(hotword=" ".join(letters[i % n] + letters[(7 * i + i // n) % n] for i in range(count)))
    theirs = load_recognizer(open_model_folder(target), options=options).transcribe(list(waves.values()))
    ours = load_recognizer(folder, options=options)
    assert [h.tokens for h in theirs] == [ours.transcribe([wave])[0].tokens for wave in waves.values()]


def test_what_cannot_be_exported_says_so() -> None:
    with pytest.raises(UsageError, match="families that can: .*paraformer"):
        try:
            export_network(open_model_folder(PARITY / "uniasr"))
        except UsageError as error:
            raise UsageError(f"{error.what} {error.hint}") from None


def test_both_kinds_of_relative_positions_can_be_exported(tmp_path: Path, waves) -> None:
    folder = shutil.copytree(PARITY / "conformer", tmp_path / "latest")
    text = (folder / "config.yaml").read_text("utf-8")
    (folder / "config.yaml").write_text(text.replace("pos_enc_layer_type", "rel_pos_type: latest, pos_enc_layer_type"))
    # 1700 samples give the convolutions one frame, 1600 none
    further = {f"{samples}": waves["u0"][:samples] for samples in (1600, 1700)}
    assert export_folder(open_model_folder(folder), tmp_path / "onnx", waves | further, quantized=False)["fp32"].holds


def test_every_exportable_family_decodes_what_it_exports() -> None:
    recognizers = {name for name in names_with("export") if FAMILIES[name].search}
    assert recognizers == set(names_with("export_search"))
    assert names_with("export_stream") == ["paraformer_online"]
    assert {"paraformer", "bicif_paraformer", "sense_voice", "asr"} <= {n for n, f in FAMILIES.items() if f.export}


def test_integrating_is_firing() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, alphas = torch.randn(3, 20, 4, generator=generator), torch.rand(3, 20, generator=generator) * 0.6
    embeds, fired, _ = integrate_and_fire(hidden, alphas)
    torch.testing.assert_close(integrate(hidden, alphas, fired), embeds, atol=1e-6, rtol=0)
    nothing = integrate(hidden, torch.zeros(3, 20), torch.zeros(3, dtype=torch.long))
    assert nothing.shape == (3, 1, 4) and not nothing.any()


def test_positions_past_the_last_token_say_blank() -> None:
    log_probs = blank_past(torch.randn(2, 4, 5), torch.tensor([4, 1]))
    assert log_probs[1, 1:].argmax(-1).tolist() == [0, 0, 0]


def test_an_exported_folder_may_be_copied(exported, waves, tmp_path: Path) -> None:
    _, target, _ = exported
    copy = shutil.copytree(target, tmp_path / "elsewhere")
    assert open_model_folder(copy).weights == copy / "model.onnx"


@pytest.mark.parametrize("exported", ["paraformer_online"], indirect=True)
def test_a_stream_through_the_graphs_is_the_stream_in_torch(exported, waves) -> None:
    """Pieces of 0.2 s, and what the graphs have no caches for is refused."""
    folder, target, _ = exported
    ours, theirs = (load_streaming_recognizer(opened) for opened in (folder, open_model_folder(target)))
    for wave in waves.values():
        caches, said = ({}, {}), ([], [])
        for start in range(0, len(wave), 3200):
            for recognizer, cache, tokens in zip((ours, theirs), caches, said):
                is_final = start + 3200 >= len(wave)
                tokens += recognizer.feed(wave[start : start + 3200], cache, is_final).tokens
        assert said[0] == said[1]
    with pytest.raises(UsageError, match="does not look back"):
        theirs.feed(waves["u0"], {}, True, StreamOptions(encoder_chunk_look_back=4))
    small = load_recognizer(open_model_folder(target), options=DecodeOptions(precision="int8"))
    assert small.search.steps._model.decoder.path.name == "decoder_quant.onnx"
    names = [item.name for item in onnx.load(str(target / "decoder.onnx")).graph.input]
    assert names[:5] == ["enc", "enc_len", "acoustic_embeds", "acoustic_embeds_len", "in_cache_0"]


def assert_another_model_is_found(folder, samples, target, tmp_path: Path) -> None:
    """One whose last weight has the other sign differs from what was exported."""
    state = load_state_dict(folder.weights)
    name = next(name for name in reversed(state) if name.endswith("weight"))
    other = shutil.copytree(folder.path, tmp_path / "other")
    save_checkpoint({**state, name: -state[name]}, other / folder.weights.name)
    changed = open_model_folder(other)
    found = compare_exported(changed, export_network(changed), target, samples)
    assert not found.holds and found.largest_difference > 2e-3


def test_an_exported_vad_finds_the_same_segments_in_pieces_too(waves, tmp_path: Path) -> None:
    folder = open_model_folder(PARITY / "fsmn_vad")
    assert export_folder(folder, tmp_path / "onnx", waves, quantized=True)["fp32"].holds
    assert_another_model_is_found(folder, waves, tmp_path / "onnx", tmp_path)
    detect = pipeline(Tasks.voice_activity_detection, tmp_path / "onnx", ngpu=0)
    ours = load_detector(folder).segments(waves["u0"])
    assert detect(waves["u0"])["text"] == ours != []
    cache: dict = {}
    events = [
        event
        for start in range(0, len(waves["u0"]), 4000)
        for event in detect(
            waves["u0"][start : start + 4000],
            param_dict={"in_cache": cache, "is_final": start + 4000 >= len(waves["u0"])},
        )["text"]
    ]
    assert join_events(events) == ours
    config = yaml.safe_load((tmp_path / "onnx/config.yaml").read_text("utf-8"))
    assert config["model_conf"]["max_end_silence_time"] == 800  # where funasr-onnx looks for it
    assert [item.name for item in onnx.load(str(tmp_path / "onnx/model.onnx")).graph.input] == [
        "speech", "in_cache0", "in_cache1"]  # fmt: skip


@pytest.mark.parametrize("case", ["punc_ct_transformer", "punc_vad_realtime"])
def test_an_exported_punctuation_model_sets_the_same_marks(case: str, tmp_path: Path) -> None:
    folder = open_model_folder(PARITY / case)
    texts = {str(i): text for i, text in enumerate(json.loads((PARITY / case / "texts_in.json").read_text("utf-8")))}
    assert export_folder(folder, tmp_path / "onnx", texts, quantized=True)["fp32"].holds
    assert_another_model_is_found(folder, texts, tmp_path / "onnx", tmp_path)
    punctuate = pipeline(Tasks.punctuation, tmp_path / "onnx", ngpu=0)
    assert punctuate.folder.weights.suffix == ".onnx"
    ours = load_punctuator(folder)
    assert [punctuate(text)["text"] for text in texts.values()] == [ours.punctuate(t).text for t in texts.values()]
    told = {entry.key: entry.value for entry in onnx.load(str(tmp_path / "onnx/model.onnx")).metadata_props}
    assert told["tokens"].split("|") == list(folder.tokens) and "。" in told["punctuations"].split("|")
