"""pipeline(): every kind of input gives FunASR's result, streams, options, and answers to mistakes.

Expected tokens and scores come from FunASR 0.8.8 (tests/data/parity); real speech and FunASR's hypotheses for it
from egs/quickstart and tests/data/funasr_greedy.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from funrecipe.errors import DataError, UnsafeFileError, UsageError
from funrecipe.hub.client import RECORD_NAME
from funrecipe.model_folder import open_model_folder
from funrecipe.models import packed
from funrecipe.network import fetch_url
from funrecipe.pipelines import Tasks, pipeline
from funrecipe.pipelines.audio import AudioSources

ROOT = Path(__file__).resolve().parents[2]
PARITY = ROOT / "tests/data/parity"
QUICKSTART = ROOT / "egs/quickstart"
SAID = ROOT / "tests/data/funasr_greedy/text"
ASR = Tasks.auto_speech_recognition


def load(name, **options):
    return pipeline(task=ASR, model=PARITY / name, ngpu=0, **options)


def arrays(name):
    with np.load(PARITY / name / "io.npz", allow_pickle=False) as data:
        return dict(data)


@pytest.fixture(scope="module")
def recognize():
    return load("paraformer", batch_size=2)


@pytest.fixture(scope="module")
def wave():
    return arrays("paraformer")["in.wav0"].astype(np.int16)


@pytest.fixture(scope="module")
def expected():
    data, tokens = arrays("paraformer"), open_model_folder(PARITY / "paraformer").tokens
    return [tokens[i] for i in data["out.e2e.wav0.token_int"]], float(data["out.e2e.wav0.score"][0])


def as_wav(samples, rate_hz=16000):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["wav", "pcm", "wav bytes", "pcm bytes", "int16", "float", "tensor", "stereo", "path"])
def test_every_kind_of_input_gives_funasrs_result(recognize, wave, expected, tmp_path, kind):
    (tmp_path / "a.b.wav").write_bytes(as_wav(wave))
    (tmp_path / "a.pcm").write_bytes(wave.tobytes())
    audio_in = {
        "wav": str(tmp_path / "a.b.wav"),
        "path": tmp_path / "a.b.wav",
        "pcm": str(tmp_path / "a.pcm"),
        "wav bytes": as_wav(wave),
        "pcm bytes": wave.tobytes(),
        "int16": wave,
        "float": wave / 32768.0,
        "tensor": torch.from_numpy(wave),
        "stereo": np.stack([wave, np.zeros_like(wave)], axis=1),
    }[kind]
    result = recognize(audio_in=audio_in)
    assert result["tokens"] == expected[0]
    assert result["score"] == pytest.approx(expected[1], abs=1e-3)
    assert result["key"] == ("a" if kind in ("wav", "path", "pcm") else "utt_id")
    assert "".join(result["text"].split()) == "".join(t for t in expected[0] if t not in ("<s>", "</s>", "<unk>"))


def test_audio_fs_is_the_rate_of_samples_without_a_header(recognize, wave):
    eight = wave[::2].copy()
    by_header = recognize(audio_in=as_wav(eight, 8000))
    for samples in (eight, eight.tobytes()):
        assert recognize(audio_in=samples, audio_fs=8000)["tokens"] == by_header["tokens"]


def test_a_list_gives_each_what_it_gives_alone_and_keeps_its_order(recognize):
    data = arrays("paraformer")
    waves = [data[f"in.wav{i}"].astype(np.int16) for i in (2, 0, 1)]
    results = recognize(audio_in=waves)
    assert [r["key"] for r in results] == ["utt_id", "utt_id_2", "utt_id_3"]
    assert [r["tokens"] for r in results] == [recognize(audio_in=w)["tokens"] for w in waves]
    assert recognize(audio_in=[]) == []


def test_real_speech_from_a_scp_writes_what_a_worker_writes(greedy_model, tmp_path):
    speak = pipeline(task=ASR, model=str(greedy_model), ngpu=0, batch_size=8)
    lines = [line.split(maxsplit=1) for line in (QUICKSTART / "data/wav.scp").read_text().splitlines()][:8]
    rows = [f"{key}\t{QUICKSTART / 'data' / path}\n" for key, path in reversed(lines)]
    (tmp_path / "wav.scp").write_text("".join(rows))
    with pytest.raises(UsageError, match="needs an output_dir"):
        speak(audio_in=str(tmp_path / "wav.scp"))
    results = speak(audio_in=str(tmp_path / "wav.scp"), output_dir=tmp_path / "out")
    reference = dict(line.split(" ", 1) for line in SAID.read_text().splitlines())
    assert [r["key"] for r in results] == sorted(key for key, _ in lines)
    assert {r["key"]: r["text"] for r in results} == {key: reference[key].replace(" ", "") for key, _ in lines}
    written = dict(line.split(" ", 1) for line in (tmp_path / "out/1best_recog/text").read_text().splitlines())
    assert written == {key: reference[key] for key, _ in lines}
    assert {p.name for p in (tmp_path / "out/1best_recog").iterdir()} == {"text", "token", "score", "rtf"}


def test_unreadable_entries_of_a_list_are_named_and_the_others_decoded(recognize, wave, tmp_path):
    (tmp_path / "good.wav").write_bytes(as_wav(wave))
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    (tmp_path / "short.wav").write_bytes(as_wav(wave[:10]))
    scp = tmp_path / "wav.scp"
    scp.write_text("".join(f"{name} {tmp_path}/{name}.wav\n" for name in ("missing", "good", "bad", "short")))
    bad, good, missing, short = recognize(audio_in=scp, output_dir=tmp_path / "out")
    assert bad["text"] == "" and "corrupt" in bad["error"] and "No such file" in missing["error"]
    assert good["tokens"] and short == {"key": "short", "text": "", "tokens": [], "score": 0.0}
    failed = (tmp_path / "out/failed.scp").read_text().splitlines()
    assert sorted(line.split("\t")[0] for line in failed) == ["bad", "missing"]


def test_an_unreadable_single_input_is_an_error(recognize):
    with pytest.raises(DataError, match="No such file"):
        recognize(audio_in="/no/such/file.wav")


def test_a_second_call_does_not_mix_with_results_of_another_model(recognize, wave, tmp_path):
    recognize(audio_in=wave, output_dir=tmp_path)
    other = load("bicif_paraformer", output_dir=tmp_path)
    result = other(audio_in=wave)
    assert (tmp_path / "1best_recog/token").read_text() == f"utt_id {' '.join(result['tokens'])}\n"


def test_nbest_stands_in_the_result_and_in_the_files(wave, tmp_path):
    result = load("conformer", nbest=3, beam_size=4)(audio_in=wave, output_dir=tmp_path)
    scores = [hypothesis["score"] for hypothesis in result["nbest"]]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    assert result["nbest"][0] == {key: result[key] for key in ("text", "tokens", "score")}
    key, _, value = (tmp_path / "1best_recog/nbest").read_text(encoding="utf-8").partition(" ")
    assert key == "utt_id" and [row["token"].split() for row in json.loads(value)] == [
        hypothesis["tokens"] for hypothesis in result["nbest"]
    ]
    assert "nbest" not in load("conformer", beam_size=4)(audio_in=wave)


def test_timestamps_one_pair_per_token():
    data = arrays("bicif_paraformer")
    result = load("bicif_paraformer")(audio_in=data["in.wav0"].astype(np.int16))
    assert len(result["timestamp"]) == len(result["tokens"]) > 0
    assert all(begin <= end for begin, end in result["timestamp"])


def test_two_threads_share_one_pipeline(recognize):
    data = arrays("paraformer")
    waves = [data[f"in.wav{i}"].astype(np.int16) for i in range(3)]
    alone = [recognize(audio_in=w)["tokens"] for w in waves]
    found = {}

    def work(number):
        found[number] = [recognize(audio_in=waves[(number + i) % 3])["tokens"] for i in range(3)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [alone[(n + i) % 3] for i in range(3)] for n in range(3)}


@pytest.fixture(scope="module")
def online():
    return load("paraformer_online")


def stream(recognizer, wave, step, **options):
    cache, results = {}, []
    for start in range(0, len(wave), step):
        params = {"cache": cache, "is_final": start + step >= len(wave), **options}
        results.append(recognizer(audio_in=wave[start : start + step], param_dict=params))
    assert cache == {}
    return results


def test_streams_give_funasrs_tokens_in_modelscopes_calls(online):
    data, runs = arrays("paraformer_online"), yaml.safe_load((PARITY / "paraformer_online/runs.yaml").read_text())
    for name in ("c5_10_5", "c0_10_5_el4_dl1"):
        run = runs[name]
        wave = data[f"in.wave_{run['wave']}"].astype(np.int16)
        look_backs = {key: run[key] for key in ("encoder_chunk_look_back", "decoder_chunk_look_back")}
        results = stream(online, wave, run["samples_per_step"], chunk_size=run["chunk_size"], **look_backs)
        wanted = [online.folder.tokens[i] for i in data[f"out.{name}.token_ids"]]
        assert [token for result in results for token in result["tokens"]] == wanted
        assert "".join("".join(r["text"] for r in results).split()) == "".join(wanted)


def test_two_streams_in_one_pipeline_do_not_mix(online):
    data = arrays("paraformer_online")
    waves = [data["in.wave_s0"].astype(np.int16), data["in.wave_s1"].astype(np.int16)]
    alone = ["".join(r["text"] for r in stream(online, wave, 9600)) for wave in waves]
    caches, texts = [{}, {}], ["", ""]
    for start in range(0, 38400, 9600):
        for i, wave in enumerate(waves):
            params = {"cache": caches[i], "is_final": start == 28800}
            texts[i] += online(audio_in=wave[start : start + 9600], param_dict=params)["text"]
    assert texts == alone


def test_a_stream_of_another_rate_does_not_depend_on_how_it_is_cut(online):
    from funrecipe.audio.resample import resample

    wave = resample(arrays("paraformer_online")["in.wave_s0"].astype(np.float32) / 32768, 16000, 8000)

    def run(step):
        cache, text = {}, ""
        for start in range(0, len(wave), step):
            params = {"cache": cache, "is_final": start + step >= len(wave)}
            text += online(audio_in=wave[start : start + step], audio_fs=8000, param_dict=params)["text"]
        return text

    assert run(len(wave)) == run(1000) == run(3333)


def test_the_end_of_a_stream_of_another_rate_needs_no_rate():
    sources = AudioSources(16000)
    wave, cache = np.random.default_rng(0).standard_normal(8000).astype(np.float32) * 0.1, {}
    first = sources.read_piece(wave, 8000, cache, is_final=False)
    rest = sources.read_piece(b"", None, cache, is_final=True)
    assert len(rest) > 0 and len(first) + len(rest) == 16000


@pytest.mark.parametrize("audio_fs", ["16k", float("nan"), [8000], 0, -8000])
def test_the_rate_of_a_stream_is_a_number(online, audio_fs):
    with pytest.raises(UsageError, match="audio_fs is"):
        online(audio_in=np.zeros(160), audio_fs=audio_fs, param_dict={"is_final": True})


def test_param_dict_is_a_dict():
    with pytest.raises(UsageError, match="param_dict is 'fast'"):
        pipeline(Tasks.voice_activity_detection, "anything", param_dict="fast")


@pytest.mark.parametrize("nothing", [b"", bytearray(), memoryview(b""), None, np.zeros((0, 2), np.int16)])
def test_a_piece_may_be_empty(online, nothing):
    wave, cache = arrays("paraformer_online")["in.wave_s0"].astype(np.int16), {}
    pieces = [nothing, wave[:9600], nothing, wave[9600:]]
    text = "".join(online(audio_in=piece, param_dict={"cache": cache})["text"] for piece in pieces)
    text += online(audio_in=nothing, param_dict={"cache": cache, "is_final": True})["text"]
    assert text == online(audio_in=wave, param_dict={"is_final": True})["text"]


def test_the_cache_of_a_stream_of_another_task_is_refused(online, wave):
    detect = pipeline(task=Tasks.voice_activity_detection, model=PARITY / "fsmn_vad", ngpu=0)
    heard, found = {}, {}
    online(audio_in=wave, param_dict={"cache": heard})
    detect(audio_in=wave, param_dict={"in_cache": found})
    for call, params in ((online, {"cache": found}), (detect, {"in_cache": heard})):
        with pytest.raises(UsageError, match="needs its own cache"):
            call(audio_in=wave, param_dict=params)


def test_an_empty_name_of_a_folder_or_model_is_none(wave, tmp_path, monkeypatch):
    recognize = load("paraformer", output_dir="", vad_model="", punc_model="")
    monkeypatch.chdir(tmp_path)
    recognize(audio_in=wave, output_dir="")
    assert not list(tmp_path.iterdir())


def test_a_stream_may_end_with_no_audio_or_come_in_one_call(online):
    wave = arrays("paraformer_online")["in.wave_s0"].astype(np.int16)
    whole = online(audio_in=wave, param_dict={"is_final": True})["text"]
    cache = {}
    text = online(audio_in=wave.tobytes(), param_dict={"cache": cache})["text"]
    assert text + online(audio_in=b"", param_dict={"cache": cache, "is_final": True})["text"] == whole


def test_chunks_of_the_pipeline_are_for_its_streams(online, wave):
    chunked = load("paraformer_online", param_dict={"chunk_size": [8, 8, 4]})
    assert chunked(audio_in=wave) == online(audio_in=wave)
    by_call = {"is_final": True, "chunk_size": [8, 8, 4]}
    assert chunked(audio_in=wave, param_dict={"is_final": True}) == online(audio_in=wave, param_dict=by_call)


def test_a_stream_searches_as_pipeline_and_call_say(wave):
    greedy = load("rnnt", beam_size=1)
    whole = {"is_final": True}
    assert greedy(audio_in=wave, param_dict=whole) == load("rnnt")(audio_in=wave, param_dict={**whole, "beam_size": 1})
    assert greedy(audio_in=wave, param_dict=whole) != load("rnnt")(audio_in=wave, param_dict=whole)
    cache = {}
    greedy(audio_in=wave, param_dict={"cache": cache})
    with pytest.raises(UsageError, match="with these options"):
        greedy(audio_in=wave, param_dict={"cache": cache, "beam_size": 5})


def test_a_stream_writes_no_files(online, wave, tmp_path):
    with pytest.raises(UsageError, match="a stream writes no files"):
        online(audio_in=wave, param_dict={"is_final": True}, output_dir=tmp_path)


def test_an_online_model_decodes_whole_files_too(online):
    assert online(audio_in=arrays("paraformer_online")["in.wave_s0"].astype(np.int16))["tokens"]


@pytest.mark.parametrize("decoding_model", ["fast", "normal", "offline"])
def test_uniasr_modes_by_pipeline_or_by_call(decoding_model):
    wave = arrays("uniasr")["in.wav0"].astype(np.int16)
    by_call = load("uniasr")(audio_in=wave, param_dict={"decoding_model": decoding_model, "hotword": None})
    assert load("uniasr", param_dict={"decoding_model": decoding_model})(audio_in=wave) == by_call


def test_hot_words_of_a_call(wave):
    contextual = load("contextual_paraformer")
    word = "".join(contextual.folder.tokens[5:7])
    plain = contextual(audio_in=wave)
    assert contextual(audio_in=wave, param_dict={"hotword": word})["score"] != plain["score"]
    assert contextual(audio_in=wave, param_dict={"hotword": "None"}) == plain


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"cache": {}, "is_final": False}, "family 'paraformer'"),
        ({"is_final": False}, "family 'paraformer' recognizes whole utterances"),
        ({"penalty": 0.5}, "penalty has no effect without a beam search"),
        ({"hotword": ["北京"]}, "hotword is"),
        (["beam_size"], "param_dict is"),
        ({"decoding_modle": "fast"}, "did you mean 'decoding_mod"),
        ({"allow_network": True}, "unknown key 'allow_network'"),
        ({"decoding_model": "fast"}, "decoding_mode='fast' has no effect on a model of family 'paraformer'"),
        ({"hotword": "北京"}, "has no effect"),
        ({"beam_size": 0}, "beam_size is 0"),
    ],
)
def test_wrong_params_of_an_offline_model(recognize, wave, params, message):
    with pytest.raises(UsageError, match=message):
        recognize(audio_in=wave, param_dict=params)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"cache": {"mine": 1}}, "needs its own cache"),
        ({"cache": []}, "needs its own cache"),
        ({"cache": {}, "chunk_size": [5, 10]}, "chunk_size is"),
        ({"is_final": False}, "needs its own cache"),
        ({"cache": {}, "is_final": "false"}, "is_final is 'false'"),
        ({"cache": {}, "beam_size": 5}, "beam_size=5 has no effect"),
        ({"cache": {}, "precision": "int8"}, "the model is loaded in fp32"),
        ({"chunk_size": [5, 10, 5]}, "needs its own cache"),
    ],
)
def test_wrong_params_of_a_stream(online, wave, params, message):
    with pytest.raises(UsageError, match=message):
        online(audio_in=wave, param_dict=params)


def test_a_wrong_decoding_mode():
    with pytest.raises(UsageError, match="slow"):
        load("uniasr", param_dict={"decoding_model": "slow"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": Tasks.inverse_text_processing}, "task 'inverse-text-processing' is not supported"),
        ({"mode": "paraformer_streaming"}, "family 'paraformer' has no mode 'paraformer_streaming'"),
        ({"mode": "paraformer_vad_punc"}, "unknown mode"),
        ({"vad_modle": "x"}, "unknown key 'vad_modle'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"allow_network": "false"}, "allow_network is 'false'"),
        ({"allow_pipes": "no"}, "allow_pipes is 'no'"),
        ({"allow_ffmpeg": None}, "allow_ffmpeg is None"),
        ({"ncpu": 0}, "ncpu is 0"),
        ({"ncpu": 100_000}, "ncpu is 100000"),
        ({"model": ""}, "the model is ''"),
        ({"model": None}, "the model is None"),
    ],
)
def test_wrong_pipelines(options, message):
    with pytest.raises(UsageError, match=message):
        pipeline(**{"task": ASR, "model": PARITY / "paraformer", "ngpu": 0, **options})


@pytest.mark.parametrize("audio_in", [3.5, [1.0, 2.0], {"a": 1}, None])
def test_what_is_no_audio(recognize, audio_in):
    with pytest.raises(UsageError, match="audio is of type"):
        recognize(audio_in=audio_in)


def test_a_pipe_in_a_scp_runs_only_when_allowed(recognize, wave, tmp_path):
    (tmp_path / "a.wav").write_bytes(as_wav(wave))
    (tmp_path / "wav.scp").write_text(f"u cat {tmp_path}/a.wav |\n")
    with pytest.raises(UnsafeFileError):
        recognize(audio_in=tmp_path / "wav.scp", output_dir=tmp_path / "out")
    allowing = load("paraformer", allow_pipes=True)
    assert allowing(audio_in=tmp_path / "wav.scp", output_dir=tmp_path / "out")[0]["tokens"]


@contextlib.contextmanager
def serving(answer, monkeypatch):
    """The address of a server on loopback; ``answer(handler)`` answers a GET."""

    class Serve(BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

        def log_message(self, *_):
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HTTPServer(("127.0.0.1", 0), Serve)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_url_needs_permission(recognize, wave, expected, monkeypatch, tmp_path):
    def answer(handler):
        pages = {"/a.wav": as_wav(wave), "/b.pcm?c=d.e": wave.tobytes(), "/page": b"<html>no such audio</html>"}
        handler.send_response(200 if handler.path in pages else 404)
        handler.end_headers()
        handler.wfile.write(pages.get(handler.path, b""))

    with serving(answer, monkeypatch) as host:
        url = f"{host}/a.wav"
        with pytest.raises(UsageError, match="would use the network"):
            recognize(audio_in=url)
        allowed = load("paraformer", allow_network=True)
        assert allowed(audio_in=url)["tokens"] == expected[0] and allowed(audio_in=url)["key"] == "a"
        assert allowed(audio_in=f"{host}/b.pcm?c=d.e")["tokens"] == expected[0]
        with pytest.raises(DataError, match="HTTP 404"):
            allowed(audio_in=url + "x")
        with pytest.raises(DataError, match="not audio: text.*\n.*/page"):  # a web page is not raw samples
            allowed(audio_in=f"{host}/page")
        (tmp_path / "wav.scp").write_text(f"u {url}\nv {url}x\n")
        found, gone = allowed(audio_in=tmp_path / "wav.scp", output_dir=tmp_path)
        assert found["tokens"] == expected[0] and "HTTP 404" in gone["error"]
        refused = recognize(audio_in=tmp_path / "wav.scp", output_dir=tmp_path)
        assert all("would use the network" in result["error"] for result in refused)


def test_a_url_is_fetched_as_a_whole_and_may_have_any_characters(monkeypatch):
    asked = []

    def answer(handler):
        asked.append(handler.path)
        handler.send_response(200)
        handler.send_header("Content-Length", "4")
        handler.end_headers()
        handler.wfile.write(b"ab" if "broken" in handler.path else b"abcd")

    with serving(answer, monkeypatch) as host:
        assert fetch_url(f"{host}/录音 1%20.pcm?a=%2F", allow_network=True) == b"abcd"
        assert asked == ["/%E5%BD%95%E9%9F%B3%201%20.pcm?a=%2F"]
        with pytest.raises(DataError, match="the connection ended 2 bytes too early"):
            fetch_url(f"{host}/broken.pcm", allow_network=True)


def test_the_revision_that_was_asked_for_must_be_the_one_on_disk(tmp_path, caplog):
    folder = shutil.copytree(PARITY / "paraformer", tmp_path / "m")
    assert pipeline(task=ASR, model=folder, ngpu=0, model_revision="v1").folder.path == folder
    assert "nothing says which revision" in caplog.text
    (folder / ".mv").write_text("Revision:v3,CreatedAt:1699000000")  # as ModelScope's own client says it
    with pytest.raises(UsageError, match="revision 'v3' is on disk"):
        pipeline(task=ASR, model=folder, ngpu=0, model_revision="v1")
    (folder / RECORD_NAME).write_text('{"revision": "v2", "sha256": {}}')
    with pytest.raises(UsageError, match="revision 'v1' was asked for, revision 'v2' is on disk"):
        pipeline(task=ASR, model=folder, ngpu=0, model_revision="v1")


def lower_precision() -> str:
    """One that this CPU has."""
    for precision in ("bf16", "int8"):
        if precision in packed.cpu_precisions():
            return precision
    pytest.skip("this CPU multiplies in fp32 only")


@pytest.mark.cpu
def test_a_precision_that_the_cpu_lacks_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(packed, "cpu_precisions", lambda: frozenset({"fp32"}))
    for precision in ("bf16", "int8"):
        with pytest.raises(UsageError, match=f"{precision} is not supported on this CPU(.|\n)*use fp32"):
            load("paraformer", precision=precision)


@pytest.mark.cpu
@pytest.mark.parametrize("model", ["paraformer", "paraformer_online", "rnnt"])
def test_the_precision_of_a_pipeline_holds_for_files_and_streams(wave, model):
    precision = lower_precision()
    exact, fast = load(model), load(model, precision=precision)
    streams = [] if model == "paraformer" else [{"is_final": True}]
    for params in ({}, *streams):
        score = exact(audio_in=wave, param_dict=params)["score"]
        # narrow layers with random weights: int8 without VNNI is 11 % off
        assert fast(audio_in=wave, param_dict=params)["score"] == pytest.approx(score, rel=0.2)
        assert fast(audio_in=wave, param_dict=params)["score"] != score
    with pytest.raises(UsageError, match=f"loaded in {precision}, not in fp32"):
        fast(audio_in=wave, param_dict={"precision": "fp32"})


def test_weights_in_place_of_the_models_own(wave, tmp_path):
    state = torch.load(PARITY / "paraformer/model.pb", weights_only=True)
    state["decoder.output_layer.bias"][7] += 1000.0
    torch.save(state, tmp_path / "tuned.pb")
    tuned = load("paraformer", weights=tmp_path / "tuned.pb")
    assert set(tuned(audio_in=wave)["tokens"]) == {tuned.folder.tokens[7]}
