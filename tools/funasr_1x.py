"""Recognize with FunASR 1.x: ``PEER_PYTHON tools/funasr_1x.py FOLDER DATA_DIR OUT_DIR``.

Writes ``result``, the text as AutoModel returns it, ``text``, its words joined by blanks, ``token`` and ``score``.
``FOLDER`` has the layout of FunASR 1.x (``funrecipe pack --layout 1.x``). Utterances are recognized one at a time;
``score`` has those of greedy Paraformers. The peer's Python needs ``funasr`` (1.4.16 was used), ``torch`` and
``torchaudio``; it needs nothing of funrecipe.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def recognize(folder: Path, audio: dict[str, Path], **options: Any) -> dict[str, dict[str, Any]]:
    """Results by utterance id: FunASR's, with ``token`` (its token list before post-processing) and ``score``."""
    from funasr import AutoModel

    model = AutoModel(
        model=str(folder), device="cpu", ncpu=1, disable_update=True, disable_pbar=True, log_level="ERROR"
    )
    module = importlib.import_module(type(model.model).__module__)
    tokens: list[list[str]] = []
    scores: list[float] = []
    listen(type(model.kwargs["tokenizer"]), "ids2tokens", lambda result: tokens.append(list(result)))
    if hasattr(module, "Hypothesis"):
        listen(module, "Hypothesis", lambda hypothesis: scores.append(float(hypothesis.score)))
    results = {}
    for key, path in audio.items():
        tokens.clear()
        scores.clear()
        found = model.generate(input=str(path), key=[key], **options)
        said = {"token": tokens[-1] if tokens else [], "score": scores[-1] if scores else None}
        results[key] = {"text": "", **(found[0] if found else {}), **said}
    return results


def listen(owner: Any, name: str, heard: Callable[[Any], None]) -> None:
    """Call ``heard`` with what the function ``name`` of ``owner`` returns, which FunASR does not pass on."""
    original = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        heard(result)
        return result

    setattr(owner, name, wrapper)


def words(tokens: list[str]) -> str:
    """Words of ``tokens`` joined by blanks, as FunASR 0.x wrote them."""
    from funasr.utils.postprocess_utils import sentence_postprocess

    return " ".join(sentence_postprocess(tokens)[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    args = parser.parse_args()
    lines = (args.data_dir / "wav.scp").read_text("utf-8").splitlines()
    audio = {key: args.data_dir / path for key, path in (line.split(maxsplit=1) for line in lines)}
    results = recognize(args.folder, audio)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    columns = {
        "result": lambda result: result["text"],
        "text": lambda result: words(result["token"]),
        "token": lambda result: " ".join(result["token"]),
        "score": lambda result: "" if result["score"] is None else f"{result['score']:.6f}",
    }
    for name, column in columns.items():
        rows = (f"{key} {column(result)}\n" for key, result in sorted(results.items()))
        (args.out_dir / name).write_text("".join(rows), "utf-8")


if __name__ == "__main__":
    main()
