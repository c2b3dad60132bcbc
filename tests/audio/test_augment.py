"""Settings of the feature masking are tried before training starts."""

import pytest

from funrecipe.audio.augment import build_specaug
from funrecipe.errors import UsageError

MASKS = {"time_mask_width_range": [0, 12]}


@pytest.mark.parametrize(
    "conf",
    [
        {"time_mask_width_range": "x"},
        {**MASKS, "num_time_mask": "x"},
        {**MASKS, "time_warp_window": 0},
        {**MASKS, "num_freq_mask": None},
        {**MASKS, "freq_mask_width_range": [0, "a"]},
        {**MASKS, "lfr_rate": "6"},
    ],
)
@pytest.mark.parametrize("name", ["specaug", "specaug_lfr"])
def test_a_mask_of_no_size_is_refused(name, conf):
    with pytest.raises(UsageError, match="specaug_conf: "):
        build_specaug(name, conf, 40)


@pytest.mark.parametrize("conf", [MASKS, {"time_mask_width_range": 12}, {"time_mask_width_ratio_range": 0.05}])
def test_widths_may_be_a_number_or_a_range(conf):
    assert build_specaug("specaug_lfr", conf, 40).conf["lfr_rate"] == 6
