"""The mean of the best checkpoints of a run, with a record of which ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from funrecipe.checkpoint import load_state_dict, save_checkpoint
from funrecipe.errors import DataError
from funrecipe.files import replace_link, write_text


def average_name(phase: str, key: str) -> str:
    """The file in an output directory that is always the average of the best epochs by this value."""
    return f"{phase}.{key}.ave.pb"


def ranked_together(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Records of ``metrics.jsonl`` that can be compared with the last one: the epochs since the data, or what they are
    judged by, last changed."""
    last = records[-1] if records else {}

    def differs(record: Mapping[str, Any]) -> bool:
        return any(name in record and record[name] != last.get(name) for name in ("data", "judged_by"))

    first = next((i for i in range(len(records), 0, -1) if differs(records[i - 1])), 0)
    return list(records[first:])


def average_state_dicts(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of float tensors, in float32; integer tensors (step counters of batch norms) are summed, as in ESPnet.

    One file is in memory at a time. Raises DataError if the files do not hold the same keys and shapes.
    """
    total: dict[str, Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    for path in paths:
        state = load_state_dict(path)
        if not total:
            dtypes = {key: value.dtype for key, value in state.items()}
            total = {key: value.float() if value.is_floating_point() else value.clone() for key, value in state.items()}
            continue
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in total.items()}:
            raise DataError(
                f"the checkpoints are of different models: the tensors are not those of {paths[0].name}",
                where=str(path),
                hint="average checkpoints of one run",
            )
        for key, value in state.items():
            total[key] += value.float() if value.is_floating_point() else value
    return {
        key: (value / len(paths)).to(dtypes[key]) if dtypes[key].is_floating_point else value
        for key, value in total.items()
    }


def rank_epochs(history: Mapping[int, Mapping[str, float]], key: str, mode: str) -> list[int]:
    """Epochs from best to worst by ``key``; the earlier of equal ones first; epochs without the value are left out."""
    scored = [(values[key], epoch) for epoch, values in history.items() if key in values and values[key] == values[key]]
    sign = -1 if mode == "max" else 1
    return [epoch for _, epoch in sorted(scored, key=lambda pair: (sign * pair[0], pair[1]))]


def average_best(
    output_dir: Path,
    history: Mapping[int, Mapping[str, float]],
    *,
    phase: str,
    key: str,
    mode: str,
    nbest: Sequence[int],
) -> list[Path]:
    """Write ``<phase>.<key>.ave_<n>best.pb`` for every n, ``ave_1best`` and ``ave`` links, and a JSON beside each that
    says which epochs it is the mean of.

    Args:
        output_dir: holds ``<N>epoch.pb``.
        history: epoch -> validation values.
        nbest: how many epochs to average. If fewer exist, all of them are averaged under the asked-for name, which
            decoding commands refer to; the JSON says which epochs are inside.

    Returns:
        The averages written, the largest last. Empty if no epoch has the value.
    """
    ranked = [epoch for epoch in rank_epochs(history, key, mode) if (output_dir / f"{epoch}epoch.pb").is_file()]
    if not ranked:
        return []
    stem = f"{phase}.{key}"
    replace_link(output_dir / f"{stem}.best.pb", f"{ranked[0]}epoch.pb")
    written = []
    for n in sorted({1, *nbest}):
        epochs = ranked[:n]
        path = output_dir / f"{stem}.ave_{n}best.pb"
        if len(epochs) == 1:
            replace_link(path, f"{epochs[0]}epoch.pb")
        else:
            mean = average_state_dicts([output_dir / f"{epoch}epoch.pb" for epoch in epochs])
            save_checkpoint(mean, path, replaces_link=True)
        values = {epoch: history[epoch][key] for epoch in epochs}
        record = {"epochs": epochs, "asked_for": n, "criterion": [phase, key, mode], "values": values}
        write_text(path.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
        written.append(path)
    newest = output_dir / average_name(phase, key)
    replace_link(newest, written[-1].name)
    write_text(newest.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    return written
