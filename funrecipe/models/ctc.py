"""The CTC output layer (Graves et al. 2006) that several families carry."""

from __future__ import annotations

from torch import Tensor, nn

DEFAULT_CTC_WEIGHT = 0.5  # FunASR's, where the configuration has none


class CTC(nn.Module):
    """Dropout and a linear layer to the vocabulary; key ``ctc_lo`` (FunASR: CTC). Arguments: ``ctc_conf``."""

    INERT = {"ctc_type": "builtin", "reduce": True, "ignore_nan_grad": ...}

    def __init__(self, vocab_size: int, encoder_output_size: int, dropout_rate: float = 0.0) -> None:
        super().__init__()
        self.ctc_lo = nn.Linear(encoder_output_size, vocab_size)
        self.dropout = nn.Dropout(dropout_rate)

    def logits(self, encoder_out: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, V)."""
        return self.ctc_lo(self.dropout(encoder_out))

    def log_probs(self, encoder_out: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, V)."""
        return self.logits(encoder_out).log_softmax(dim=-1)
