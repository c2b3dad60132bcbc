"""The networks: one file per architecture family and the layers that families share.

Letters in shapes: ``B`` batch, ``S`` samples, ``T`` frames, ``U`` tokens, ``V`` vocabulary, ``D`` width, ``H`` heads,
``C`` channels, ``N`` hotwords or other items of a list. A shape follows its name: ``feats`` (B, T, D). Tensors of
lengths end in ``_lens``, int64 (B,).
"""
