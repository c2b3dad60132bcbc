"""Folders of ModelScope's speaker models: their only configuration is ``configuration.json``."""

from __future__ import annotations

from typing import Any

# ModelScope's model type -> family, and their names of settings -> those of the family's ``model_conf``.
TYPES: dict[str, tuple[str, dict[str, str]]] = {
    "cam++-sv": ("campplus", {"fbank_dim": "feat_dim", "emb_size": "embedding_size"}),
    "eres2netv2-sv": (
        "eres2netv2",
        {"embed_dim": "embedding_size", "baseWidth": "baseWidth", "scale": "scale", "expansion": "expansion"},
    ),
}
X_VECTOR_ENCODERS = ("resnet34", "resnet34_sp_l2reg")


def described_by_configuration(configuration: dict[str, Any]) -> dict[str, Any] | None:
    """The equivalent ``config.yaml`` of a speaker model's ``configuration.json``; None for any other model."""
    model = configuration.get("model")
    if not isinstance(model, dict) or model.get("type") not in TYPES:
        return None
    family, names = TYPES[model["type"]]
    settings = model.get("model_config") or {}
    model_conf = {ours: settings[theirs] for theirs, ours in names.items() if theirs in settings}
    return {"model": family, "model_conf": model_conf, "frontend_conf": {"fs": settings.get("sample_rate", 16000)}}


def is_xvector(config: dict[str, Any]) -> bool:
    """Whether a 0.x configuration is of an x-vector model, whose ``model`` key says ``espnet`` or nothing."""
    return config.get("encoder") in X_VECTOR_ENCODERS
