"""``funrecipe download``: get a model from the hub. The only command that uses the network."""

from __future__ import annotations

import argparse
from pathlib import Path

from funrecipe.errors import count
from funrecipe.hub import models_dir
from funrecipe.hub.client import HubClient, hub_url
from funrecipe.model_folder.zoo import canonical_id, find_row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="model id, such as damo/speech_paraformer-large_asr_nat-zh-cn-16k-...")
    parser.add_argument("--revision", default="master", help="tag, branch or commit (default: %(default)s)")
    parser.add_argument("--dest", type=Path, help="folder of the model (default: $FUNRECIPE_MODELS/ID)")
    parser.add_argument("--hub_url", help="address of the hub (default: $FUNRECIPE_HUB, else ModelScope)")


def run(args: argparse.Namespace) -> int:
    model_id = canonical_id(args.model)
    row = find_row(model_id)
    if row is not None:
        print(f"{row.id}: {row.family}, {row.language}, license {row.license}")
        if row.unsupported:
            print(f"note: funrecipe does not support this model: {row.unsupported}")
    dest = args.dest or models_dir() / model_id
    client = HubClient(hub_url(args.hub_url), say=lambda line: print(line, flush=True))
    # The name space as it was typed: the hub answers to the old and to the new one.
    checksums = client.download(args.model if "/" in args.model else model_id, args.revision, dest)
    print(f"{count(len(checksums), 'file')} in {dest}")
    return 0
