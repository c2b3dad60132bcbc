"""decoding.yaml under flags; nothing that was asked for is dropped silently."""

import argparse
from pathlib import Path

import pytest

from funrecipe.decode.options import OPTIONS, DecodeOptions, add_option_arguments, check_supported, options_given
from funrecipe.errors import UsageError
from funrecipe.families import FAMILIES
from tools.write_option_lists import decode_options

ROOT = Path(__file__).resolve().parents[2]

PUBLISHED = {"beam_size": 1, "penalty": 0.0, "maxlenratio": 0.0, "minlenratio": 0.0, "ctc_weight": 0, "lm_weight": 0.0}


def test_flags_override_decoding_yaml():
    defaults = DecodeOptions.from_mapping({"beam_size": 10, "lm_weight": 0.15}, where="decoding.yaml")
    merged = DecodeOptions(beam_size=5, penalty=0.5).over(defaults)
    assert (merged.beam_size, merged.lm_weight, merged.penalty, merged.ctc_weight) == (5, 0.15, 0.5, None)


def test_a_flag_of_zero_overrides_too():
    assert DecodeOptions(lm_weight=0.0).over(DecodeOptions(lm_weight=0.15)).lm_weight == 0.0


def test_a_published_decoding_yaml_asks_for_nothing():
    options = DecodeOptions.from_mapping(PUBLISHED, where="decoding.yaml")
    assert options.asked_for() == {}
    check_supported(options, "uniasr")


def test_an_option_that_the_family_ignores_is_refused():
    with pytest.raises(UsageError, match="ctc_weight=0.15 has no effect on a model of family 'uniasr'"):
        check_supported(DecodeOptions(ctc_weight=0.15), "uniasr")
    with pytest.raises(UsageError, match="nbest=3 has no effect on a stream of family 'rnnt'"):
        check_supported(DecodeOptions(nbest=3), "rnnt", streaming=True)


def test_an_option_of_another_decoding_mode_is_refused():
    with pytest.raises(UsageError, match="penalty has no effect with decoding_mode 'ctc_greedy'(.|\n)*joint"):
        check_supported(DecodeOptions(decoding_mode="ctc_greedy", penalty=1.0), "asr")


def test_every_option_of_a_family_stands_in_the_table():
    for name, row in FAMILIES.items():
        assert row.options | row.stream_options <= set(OPTIONS), name


def test_the_command_line_offers_every_option():
    parser = argparse.ArgumentParser()
    add_option_arguments(parser)
    given = {"beam_size": 5, "ctc_weight": 0.3, "search_type": "tsd", "score_norm": "true", "hotword": "a b"}
    flags = [f"--{OPTIONS[name].flag or name}={value}" for name, value in given.items()]
    assert options_given(parser.parse_args(flags)) == DecodeOptions(**{**given, "score_norm": True})
    assert options_given(parser.parse_args([])) == DecodeOptions()


def test_the_list_of_the_recipes_is_that_of_the_table():
    written = (ROOT / "utils/decode_options.sh").read_text(encoding="utf-8")
    assert written == decode_options(), "run: python -m tools.write_option_lists"


def test_unknown_keys_are_refused_with_a_hint():
    with pytest.raises(UsageError, match="did you mean 'beam_size'"):
        DecodeOptions.from_mapping({"beamsize": 3}, where="decoding.yaml")


def test_runtime_keys_of_funasr_pass_with_a_warning(caplog):
    assert DecodeOptions.from_mapping({"num_workers": 0, "seed": 0}, where="decoding.yaml") == DecodeOptions()
    assert "num_workers" in caplog.text and "seed" in caplog.text


def test_a_model_folder_cannot_allow_the_network():
    with pytest.raises(UsageError, match="unknown decoding option 'allow_network'"):
        DecodeOptions.from_mapping({"hotword": "http://example.com", "allow_network": True}, where="decoding.yaml")


def test_a_wrong_value_names_the_file():
    with pytest.raises(UsageError, match="beam_size is 'ten'") as caught:
        DecodeOptions.from_mapping({"beam_size": "ten"}, where="model/decoding.yaml")
    assert caught.value.where == "model/decoding.yaml"


def test_false_overrides_true():
    assert DecodeOptions(score_norm=False).over(DecodeOptions(score_norm=True)).score_norm is False


@pytest.mark.parametrize(
    "bad",
    [
        {"beam_size": 0},
        {"beam_size": 2.5},
        {"ctc_weight": 10.5},
        {"ctc_weight": "0.3"},
        {"nbest": True},
        {"lm_weight": -1},
        {"hotword": ["one", "two"]},
        {"decoding_mode": 1},
        {"score_norm": "yes"},
    ],
)
def test_values_out_of_range_are_named(bad):
    with pytest.raises(UsageError, match=next(iter(bad))):
        DecodeOptions(**bad)


def test_integers_may_come_as_floats():
    assert DecodeOptions(beam_size=10.0).beam_size == 10
