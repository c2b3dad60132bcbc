"""Ids -> folders on disk, and the zoo table."""

from __future__ import annotations

import json

import pytest

from funrecipe import hub
from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.model_folder.zoo import canonical_id, find_row, zoo

LARGE = "damo/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-pytorch"


@pytest.fixture(autouse=True)
def caches(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FUNRECIPE_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("MODELSCOPE_CACHE", raising=False)
    return tmp_path


def put(folder):
    folder.mkdir(parents=True)
    (folder / "configuration.json").write_text("{}")
    return folder


def test_a_folder_is_taken_as_it_is(tmp_path):
    assert hub.resolve_model(tmp_path) == tmp_path


@pytest.mark.parametrize("where", ["models", "home/.cache/modelscope/hub", "home/.cache/modelscope/hub/models"])
@pytest.mark.parametrize("namespace", ["damo", "iic"])
def test_an_id_is_found_in_every_cache_under_both_name_spaces(caches, where, namespace):
    name = LARGE.split("/")[1]
    folder = put(caches / where / namespace / name)
    for asked in (f"damo/{name}", f"iic/{name}", name):
        assert hub.resolve_model(asked) == folder


def test_modelscope_s_spelling_of_a_dot(caches):
    folder = put(caches / "home/.cache/modelscope/models/someone/model-v1___5")
    assert hub.resolve_model("someone/model-v1.5") == folder
    assert hub.models_on_disk() == ["someone/model-v1.5"]


def test_a_missing_model_names_the_command_and_what_is_there(caches):
    put(caches / "models/damo/other")
    with pytest.raises(DataError) as caught:
        hub.resolve_model(LARGE.replace("damo", "iic"))
    assert f"funrecipe download {LARGE}" in str(caught.value) and "on disk: damo/other" in str(caught.value)


def test_a_misspelt_id_gets_a_suggestion():
    with pytest.raises(DataError, match=f"did you mean '{LARGE}'"):
        hub.resolve_model(LARGE[:-4])


def test_a_path_that_is_not_there_is_not_taken_for_an_id():
    with pytest.raises(DataError, match="no model folder './exp/model'"):
        hub.resolve_model("./exp/model")


def test_unsupported_models_say_why():
    with pytest.raises(UsageError, match="is not supported: this diarization network"):
        hub.resolve_model("damo/speech_diarization_eend-ola-en-us-callhome-8k")


def test_every_row_of_the_zoo_is_complete():
    rows = zoo().values()
    assert len(rows) >= 85
    for row in rows:
        assert row.mode in ("offline", "online", "two-pass") and row.license and row.language and row.family, row
        if row.unsupported is None:
            if row.family == "punc":  # reads texts
                continue
            if row.family == "timestamp_prediction":  # aligns what it is given
                continue
            assert row.sample_rate_hz in (8000, 16000), row
            if row.id == "damo/SenseVoiceSmall":  # the only id that says neither
                continue
            assert f"{row.sample_rate_hz // 1000}k" in row.id, row
            if row.family not in ("campplus", "eres2netv2", "sv", "e2evad"):  # they have no vocabulary
                assert row.vocab_size > 90, row
                assert f"vocab{row.vocab_size}" in row.id or row.language == "ja", row
    assert find_row("iic/" + LARGE.split("/")[1]) is find_row(LARGE)
    assert canonical_id("NPU-ASLP/x") == "NPU-ASLP/x"


def test_decode_defaults_of_the_row_stand_below_decoding_yaml(caches):
    folder = put(caches / "models/damo/speech_conformer_asr_nat-zh-cn-16k-aishell1-vocab4234-pytorch")
    (folder / "config.yaml").write_text("model: asr\nencoder: conformer\ntoken_list: [<blank>, a]\n")
    (folder / "model.pb").touch()
    assert open_model_folder(folder).decoding == {"beam_size": 10, "ctc_weight": 0.5, "lm_weight": 0.0}
    (folder / "decoding.yaml").write_text("beam_size: 3\n")
    assert open_model_folder(folder).decoding == {"beam_size": 3, "ctc_weight": 0.5, "lm_weight": 0.0}


UNIASR = "speech_UniASR_asr_2pass-zh-cn-16k-common-vocab8358-tensorflow1-online"


def put_uniasr(folder, configuration=None):
    put(folder)
    (folder / "config.yaml").write_text("model: uniasr\nencoder: sanm_chunk_opt\ntoken_list: [<blank>, a]\n")
    (folder / "model.pb").touch()
    if configuration is not None:
        (folder / "configuration.json").write_text(json.dumps(configuration))
    return folder


@pytest.mark.parametrize(
    "link",
    [
        f"models/damo/{UNIASR}",
        f"home/.cache/modelscope/hub/models/iic/{UNIASR}",
        f"home/.cache/huggingface/hub/models--funasr--{UNIASR}/snapshots/0a1b2c",
        f"deeper/{UNIASR}",
    ],
)
def test_a_link_in_the_cache_is_the_model_that_it_is_named_after(caches, link):
    files = put_uniasr(caches / "disk/7f3a")
    place = caches / link
    place.parent.mkdir(parents=True)
    second = caches / "second"
    second.symlink_to(files)  # a link to a link
    place.symlink_to(second)
    folder = open_model_folder(place)
    assert folder.decoding == find_row(UNIASR).decode != {}
    # A worker opens the folder by the path of the plan.
    assert open_model_folder(str(folder.path)).decoding == folder.decoding
    assert open_model_folder(files).decoding == {}
    if link.startswith(("models", "home/.cache/modelscope")):
        assert hub.open_model(f"iic/{UNIASR}").decoding == folder.decoding


def test_the_target_of_a_link_may_carry_the_name(caches):
    files = put_uniasr(caches / "disk" / UNIASR)
    (caches / "model").symlink_to(files)
    assert open_model_folder(caches / "model").decoding == find_row(UNIASR).decode


@pytest.mark.parametrize(
    "name", [{"ms": f"iic/{UNIASR}", "hf": ""}, {"ms": "", "hf": f"funasr/{UNIASR}"}, f"damo/{UNIASR}"]
)
def test_the_name_that_funasr_1x_writes_finds_the_row(caches, name):
    folder = put_uniasr(caches / "disk/7f3a", {"framework": "pytorch", "model_name_in_hub": name})
    assert open_model_folder(folder).decoding == find_row(UNIASR).decode


def test_a_chunk_shape_in_decoding_yaml_wins_over_the_mode_of_the_row(caches):
    from funrecipe.decode.uniasr import decoding_mode

    folder = put(caches / "models/damo/speech_UniASR_asr_2pass-en-16k-common-vocab1080-tensorflow1-online")
    (folder / "config.yaml").write_text("model: uniasr\nencoder: sanm_chunk_opt\ntoken_list: [<blank>, a]\n")
    (folder / "model.pb").touch()
    rows = {"": (0, 2), "decoding_ind: 1\n": (1, 2), "decoding_mode: fast\n": (0, 1), "decoding_mode: offline": (1, 2)}
    for text, expected in rows.items():
        (folder / "decoding.yaml").write_text(text)
        decoding = open_model_folder(folder).decoding
        assert decoding_mode(decoding["decoding_mode"], decoding["decoding_ind"]) == expected


OTHER_TASKS = ("e2evad", "punc", "timestamp_prediction")  # they run through pipeline(Tasks...)


def test_supported_rows_are_those_that_decode_and_their_options_are_used():
    from funrecipe.decode.options import DecodeOptions, check_supported
    from funrecipe.families import FAMILIES, names_with

    for row in zoo().values():
        family = FAMILIES.get(row.family)
        decodes = family is not None and family.search is not None
        assert (decodes or row.family in (*names_with("threshold"), *OTHER_TASKS)) == (row.unsupported is None), row
        if decodes:
            check_supported(DecodeOptions.from_mapping(row.decode, where=row.id), row.family)


def test_a_typo_is_not_offered_for_download_and_a_folder_that_is_missing_is_called_one(caches):
    with pytest.raises(DataError, match="no model folder(.|\n)*did you mean") as caught:
        hub.resolve_model(LARGE + "x")
    assert "download" not in str(caught.value)
    with pytest.raises(DataError, match="no model folder 'exp/model'(.|\n)*correct the path"):
        hub.resolve_model("exp/model")
    with pytest.raises(DataError, match=f"is not on disk(.|\n)*funrecipe download {LARGE}"):
        hub.resolve_model(LARGE)
