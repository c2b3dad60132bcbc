"""Whole recognizers over the golden models: batches, threads, edges, options, hotwords, hypotheses of real speech."""

import shutil
import subprocess
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from funrecipe.audio.io import read_audio
from funrecipe.decode.hotwords import read_hotwords, spell_hotwords
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_model, load_recognizer, make_recognizer
from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.models import packed
from funrecipe.text.tokenizer import Tokenizer

GOLDEN = Path(__file__).parents[1] / "data" / "parity"
QUICKSTART = Path(__file__).parents[2] / "egs" / "quickstart"
FUNASR = Path(__file__).parents[1] / "data" / "funasr_greedy"
SETTINGS = [
    ("paraformer", {}),
    ("paraformer", {"nbest": 3, "beam_size": 4}),
    ("bicif_paraformer", {}),
    ("contextual_paraformer", {"hotword": "着就 和"}),
]


def recognizer(case, **options):
    return load_recognizer(open_model_folder(GOLDEN / case), options=DecodeOptions(**options))


def noise(*lengths):
    rng = np.random.default_rng(7)
    return [rng.uniform(-0.3, 0.3, n).astype(np.float32) for n in lengths]


@pytest.mark.parametrize("case,options", SETTINGS)
def test_batch_of_eight_equals_batches_of_one(case, options):
    waves = noise(16000, 10, 41234, 400, 12000, 0, 30000, 900)
    decoder = recognizer(case, **options)
    together, alone = decoder.transcribe(waves), [decoder.transcribe([wave])[0] for wave in waves]
    for one, other in zip(together, alone, strict=True):
        assert (one.tokens, one.text, one.timestamp_ms) == (other.tokens, other.text, other.timestamp_ms)
        assert one.score == pytest.approx(other.score, abs=1e-4)


def test_too_short_waveforms_give_empty_hypotheses():
    for hypothesis in recognizer("paraformer").transcribe(noise(0, 1, 10, 399)):
        assert (hypothesis.tokens, hypothesis.text, hypothesis.score) == ([], "", 0.0)
    assert recognizer("paraformer").transcribe([]) == []


def test_one_time_stamp_per_token():
    for hypothesis in recognizer("bicif_paraformer").transcribe(noise(48000, 16000, 5000)):
        assert len(hypothesis.timestamp_ms) == len(hypothesis.tokens)


def test_threads_share_a_recognizer():
    decoder, waves = recognizer("paraformer"), noise(16000, 24000, 32000)
    wanted = [h.tokens for h in decoder.transcribe(waves)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: [h.tokens for h in decoder.transcribe(waves)], range(8)))
    assert results == [wanted] * 8


def test_the_caller_keeps_its_waveforms():
    wave = noise(16000)[0]
    before = wave.copy()
    wave.flags.writeable = False
    recognizer("paraformer").transcribe([wave])
    assert np.array_equal(wave, before)


def test_hot_words_change_the_scores_and_a_scale_of_zero_takes_that_back():
    waves = noise(48000)
    with_words = recognizer("contextual_paraformer", hotword="着就和她 也得").transcribe(waves)[0]
    without = recognizer("contextual_paraformer").transcribe(waves)[0]
    silent = recognizer("contextual_paraformer", hotword="着就和她 也得", clas_scale=0.0).transcribe(waves)[0]
    silent_too = recognizer("contextual_paraformer", clas_scale=0.0).transcribe(waves)[0]
    assert with_words.score != pytest.approx(without.score, abs=1e-4)
    assert silent.score == pytest.approx(silent_too.score, abs=1e-5)


@pytest.mark.cpu
@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_lower_precision_is_close_and_independent_of_the_batch(precision, greedy_model):
    folder = open_model_folder(greedy_model)
    data = QUICKSTART / "data"
    waves = [read_audio(data / path, sample_rate_hz=16000) for path in list(read_pairs(data / "wav.scp").values())[:6]]
    if precision not in packed.cpu_precisions():
        pytest.skip(f"this CPU does not multiply in {precision}")
    quick = load_recognizer(folder, options=DecodeOptions(precision=precision))
    exact = load_recognizer(folder).transcribe(waves)
    together, alone = quick.transcribe(waves), [quick.transcribe([wave])[0] for wave in waves]
    assert together == alone
    assert together != exact
    assert sum(len(h.tokens) for h in together) == pytest.approx(sum(len(h.tokens) for h in exact), rel=0.05)
    scores, exact_scores = sum(h.score for h in together), sum(h.score for h in exact)
    assert scores == pytest.approx(exact_scores, rel=0.05)


def test_another_precision_than_the_loaded_one_is_refused():
    folder = open_model_folder(GOLDEN / "paraformer")
    model = load_model(folder, device="cpu")
    with pytest.raises(UsageError, match="loaded in fp32"):
        make_recognizer(model, folder, options=DecodeOptions(precision="int8"))
    with pytest.raises(UsageError, match="precision is 'fp8'"):
        DecodeOptions(precision="fp8")


@pytest.mark.parametrize(
    "options,message",
    [
        ({"hotword": "你好"}, "hotword='你好' has no effect"),
        ({"decoding_mode": "fast"}, "decoding_mode='fast' has no effect"),
        ({"ctc_weight": 0.3}, "no CTC head"),
        ({"lm_weight": 0.15}, "model folder has no language model"),
    ],
)
def test_options_that_cannot_be_honoured_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        recognizer("paraformer", **options)


def test_decoding_yaml_of_the_folder_counts(tmp_path):
    shutil.copytree(GOLDEN / "paraformer", tmp_path / "model")
    (tmp_path / "model" / "decoding.yaml").write_text("nbest: 2\nbeam_size: 3\n")
    folder = open_model_folder(tmp_path / "model")
    assert len(load_recognizer(folder).transcribe_nbest(noise(48000))[0]) == 2
    assert len(load_recognizer(folder, options=DecodeOptions(nbest=1)).transcribe_nbest(noise(48000))[0]) == 1
    (tmp_path / "model" / "decoding.yaml").write_text("decoding_mode: fast\n")
    with pytest.raises(UsageError, match="decoding_mode"):
        load_recognizer(open_model_folder(tmp_path / "model"))


def test_weights_of_another_model_are_refused(tmp_path):
    weights = torch.load(GOLDEN / "bicif_paraformer" / "model.pb", weights_only=True)
    torch.save(weights, tmp_path / "other.pb")
    with pytest.raises(DataError, match="unexpected: predictor.blstm"):
        load_recognizer(open_model_folder(GOLDEN / "paraformer"), weights=tmp_path / "other.pb")


def test_hot_words_from_string_file_and_nothing(tmp_path):
    (tmp_path / "words.txt").write_text("你好\n\nhello world \n", encoding="utf-8-sig")
    assert read_hotwords(str(tmp_path / "words.txt")) == ["你好", "hello world"]
    assert read_hotwords("你好 世界") == ["你好", "世界"]
    assert read_hotwords(unicodedata.normalize("NFD", "한국 café")) == ["한국", "café"]
    assert read_hotwords("你好 " * 200) == ["你好"] * 200
    assert read_hotwords(None) == read_hotwords("") == read_hotwords("None") == []
    with pytest.raises(UsageError, match="no hotword file"):
        read_hotwords(str(tmp_path / "missing.txt"))
    with pytest.raises(UsageError, match="network"):
        read_hotwords("https://example.org/words.txt")


@pytest.mark.parametrize(
    "content, words",
    [
        ("阿里巴巴 20\n达摩院 30\n", ["阿里巴巴", "达摩院"]),
        ("阿里巴巴\t20\n\n达摩院  -3.5\r\n", ["阿里巴巴", "达摩院"]),
        ("hello world 20\nWindows 10 30\n", ["hello world", "Windows 10"]),
        ("阿里巴巴 20\nWindows 10\n达摩院\n", ["阿里巴巴", "Windows 10", "达摩院"]),
        ("中国移动 10086\n", ["中国移动 10086"]),
        ("10086\n110\n", ["10086", "110"]),
        ('{"阿里巴巴": 20, "达摩院": 30}', ["阿里巴巴", "达摩院"]),
    ],
)
def test_the_weights_of_a_hot_word_file_are_no_part_of_the_words(
    content: str, words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "words.txt"
    path.write_text(content, "utf-8", newline="")
    assert read_hotwords(str(path)) == words


def test_weights_in_a_string_of_hot_words_are_left_out_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        assert read_hotwords("阿里巴巴 20 达摩院 30 10086 通义") == ["阿里巴巴", "达摩院", "10086", "通义"]
    assert read_hotwords('{"阿里巴巴": 20}') == ["阿里巴巴"]
    said = [record.message for record in caplog.records]
    assert [message for message in said if message.startswith("2 hotwords")] == [
        "2 hotwords have a weight, which is ignored: '阿里巴巴 20' ..."
    ]


def test_a_hot_word_that_cannot_be_spelled_is_reported_and_left_out(caplog):
    tokenizer = Tokenizer(["<blank>", "<s>", "</s>", "你", "好", "<unk>"])
    assert spell_hotwords(["你好", "您好"], tokenizer) == [[3, 4]]
    assert "您好" in caplog.text and "'您'" in caplog.text


@pytest.mark.parametrize("batch_size", [1, 8])
def test_real_speech_gives_the_reference_hypotheses(batch_size, greedy_model):
    """Texts and tokens exactly, scores within 1e-4, of what FunASR 1.4.16 says with the same model and audio."""
    data = QUICKSTART / "data"
    audio = read_pairs(data / "wav.scp")
    decoder = load_recognizer(open_model_folder(greedy_model))
    waves = {key: read_audio(data / path, sample_rate_hz=16000) for key, path in audio.items()}
    keys = list(waves)
    hypotheses = {}
    for start in range(0, len(keys), batch_size):
        batch = keys[start : start + batch_size]
        hypotheses |= zip(batch, decoder.transcribe([waves[key] for key in batch]))
    assert {key: h.text for key, h in hypotheses.items()} == read_pairs(FUNASR / "text")
    assert {key: " ".join(h.tokens) for key, h in hypotheses.items()} == read_pairs(FUNASR / "token")
    for key, score in read_pairs(FUNASR / "score").items():
        assert hypotheses[key].score == pytest.approx(float(score), abs=1e-4)


def read_pairs(path):
    """``key value`` lines as a dict; the value may hold blanks or be empty."""
    return dict(line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines())


def test_a_model_is_loaded_without_initial_values_and_without_the_compiler():
    """The weights are those of the file, the random generator is untouched, and torch's compiler stays out."""
    code = """
import sys
import torch
from funrecipe.checkpoint import load_state_dict
from funrecipe.model_folder import open_model_folder
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.models.registry import build_model
from funrecipe.models.uninitialized import Uninitialized
from funrecipe.checkpoint import load_weights
folder = open_model_folder(sys.argv[1])
torch.manual_seed(7)
before = torch.get_rng_state()
with Uninitialized():
    model = build_model(folder.config, len(folder.tokens))
load_weights(model, folder.weights, assign=True)
wanted = load_state_dict(folder.weights)
assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())
load_recognizer(folder)
assert torch.equal(torch.get_rng_state(), before)
print("torch._dynamo" in sys.modules)
"""
    folder = Path(__file__).parents[2] / "egs/quickstart/model"
    result = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "False\n"
