"""Case ``contextual_paraformer``: hotwords in both classes."""

from __future__ import annotations

import re

from tools.parity.case import Case
from tools.parity.paraformer import (
    FLOAT_TOLERANCE,
    check_decoder,
    check_group,
    groups_of,
    load_model,
    padding_as_in_funasr,
)

LOG_PROB_TOLERANCE = 3e-4


def check_contextual(case: Case) -> None:
    hotwords = case.json("hotwords.json")
    lists = {"nohw": [], "hw": hotwords, "hw_single": hotwords[:1]}
    names = [match.groups() for key in case.expected if (match := KEY.fullmatch(key))]
    for prefix, family in (("", "contextual_paraformer"), ("neat.", "neatcontextual_paraformer")):
        model = load_model(case, model=family)
        with padding_as_in_funasr(model):
            ((_, feats, feat_lens),) = groups_of(case)[:1]
            if not prefix:
                check_group(case, model, "batch", feats, feat_lens)
                case.compare("hw.context_vectors", model.encode_hotwords(hotwords), FLOAT_TOLERANCE)
            encoder_out, lens = model.encode(feats, feat_lens)
            cif = model.predict(encoder_out, lens)
            token_lens = cif.token_num.long()
            for neat, group, scale in names:
                if (neat or "") != prefix:
                    continue
                # README, fact 5: only the neat class of the original applies the scale
                ours = model.decode(
                    encoder_out,
                    lens,
                    cif.embeds,
                    token_lens,
                    model.encode_hotwords(lists[group]),
                    float(scale) if neat else 1.0,
                )
                check_decoder(case, f"{prefix}{group}.scale{scale}", ours, token_lens, LOG_PROB_TOLERANCE)


KEY = re.compile(r"(neat\.)?(\w+)\.scale([\d.]+)\.decoder_log_probs")
CASES = {"contextual_paraformer": check_contextual}
