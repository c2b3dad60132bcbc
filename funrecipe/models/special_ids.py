"""Token ids that mean the same in every FunASR vocabulary."""

BLANK_ID = 0  # ``<blank>``: CTC and transducer emit nothing
SOS_ID = 1  # ``<s>``: what an autoregressive decoder starts from
EOS_ID = 2  # ``</s>``: what ends a text
