"""Golden checks of Paraformer's beam search with CTC and language model (``search.*`` of ``paraformer_ctc``)."""

from __future__ import annotations

import torch

from funrecipe.decode.paraformer import paraformer_beam_search
from tools.parity.case import Case
from tools.parity.ctc_attention import beam_options, compare_nbest, fusion_of, parse_search, search_names
from tools.parity.lm import load_lm
from tools.parity.paraformer import load_model


def check(case: Case) -> None:
    model = load_model(case)
    lm = load_lm(case) if (case.path / "lm.yaml").is_file() else None
    feats, feat_lens = torch.from_numpy(case.inputs["feats"]), torch.from_numpy(case.inputs["feats_lens"])
    for name in search_names(case):
        settings = parse_search(name)
        for row, frames in enumerate(feat_lens.tolist()):
            if f"search.{name}.u{row}.nbest_score" not in case.expected:
                continue
            encoder_out, lens = model.encode(feats[row : row + 1, :frames], feat_lens[row : row + 1])
            cif = model.predict(encoder_out, lens)
            token_lens = cif.token_num.long()
            found = paraformer_beam_search(
                model.decode(encoder_out, lens, cif.embeds, token_lens),
                token_lens,
                beam_options(settings),
                fusion_of(settings, lm),
                ctc_log_probs=model.ctc.log_probs(encoder_out),
                ctc_lens=lens,
            )[0]
            compare_nbest(case, f"search.{name}.u{row}", found)


CASES = {"paraformer_ctc": check}
