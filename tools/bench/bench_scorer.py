#!/usr/bin/env python3
"""How fast the scorer is, as ratios against a peer timed in the same run (CPU seconds, one core).

    python tools/bench/bench_scorer.py [--peer PATH/TO/error_rate_zh] [--pairs 100000] [--errors 0.08]

The peer is SpeechIO's ``error_rate_zh`` when its path is given (its own ``EditDistance`` and ``CountEdits`` are
called). Without it, a plain restatement of its algorithm stands in: a full grid with one Python object per cell and a
trace back. The peer is timed on --peer_pairs pairs and extrapolated, our engines on all pairs. Ends with 1 where a
number of errors is not the peer's.
"""

import argparse
import importlib.machinery
import importlib.util
import random
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from funrecipe.score.align import count_edits, edit_ops, total_errors  # noqa: E402
from tools.bench.sides import machine  # noqa: E402

VOCABULARY = [chr(0x4E00 + i) for i in range(3755)]
ZIPF = [1 / (rank + 1) for rank in range(len(VOCABULARY))]


class Cell:
    def __init__(self):
        self.cost = 0
        self.back = None


def grid_counts(ref, hyp):
    """The stand-in peer: (substitutions, insertions, deletions) by a grid of objects."""
    grid = [[Cell() for _ in range(len(hyp) + 1)] for _ in range(len(ref) + 1)]
    for r in range(len(ref) + 1):
        for h in range(len(hyp) + 1):
            choices = []
            if h:
                choices.append((grid[r][h - 1].cost + 1, 0))
            if r:
                choices.append((grid[r - 1][h].cost + 1, 1))
            if r and h:
                choices.append((grid[r - 1][h - 1].cost + (ref[r - 1] != hyp[h - 1]), 2))
            if choices:
                grid[r][h].cost, grid[r][h].back = min(choices)
    counts = [0, 0, 0]
    r, h = len(ref), len(hyp)
    while r or h:
        back = grid[r][h].back
        if back == 0:
            counts[1] += 1
            h -= 1
        elif back == 1:
            counts[2] += 1
            r -= 1
        else:
            r, h = r - 1, h - 1
            counts[0] += ref[r] != hyp[h]
    return tuple(counts)


def load_peer(path):
    if path is None:
        return "stand-in (full grid of Python objects)", grid_counts
    loader = importlib.machinery.SourceFileLoader("peer", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("peer", loader))
    loader.exec_module(module)

    def counts(ref, hyp):
        _, substitutions, insertions, deletions = module.CountEdits(module.EditDistance(list(ref), list(hyp))[0])
        return substitutions, insertions, deletions

    return path, counts


def make_pairs(number, length, error_rate, seed):
    draw = random.Random(seed)
    refs = ["".join(draw.choices(VOCABULARY, ZIPF, k=length)) for _ in range(number)]
    return refs, ["".join(corrupt(ref, error_rate, draw)) for ref in refs]


def corrupt(ref, error_rate, draw):
    for token in ref:
        kind = draw.random() / error_rate * 3
        if kind < 1:
            continue
        yield draw.choice(VOCABULARY) if kind < 2 else token
        if 2 <= kind < 3:
            yield draw.choice(VOCABULARY)


def cpu_seconds(function, *arguments):
    start = time.process_time()
    result = function(*arguments)
    return time.process_time() - start, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="SpeechIO's error_rate_zh; without it a stand-in")
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--length", type=int, default=20)
    parser.add_argument("--errors", type=float, default=0.08)
    parser.add_argument("--peer_pairs", type=int, default=2_000)
    args = parser.parse_args()

    peer_name, peer = load_peer(args.peer)
    refs, hyps = make_pairs(args.pairs, args.length, args.errors, seed=1)
    share = min(args.peer_pairs, args.pairs)
    peer_s, peer_counts = cpu_seconds(lambda: [peer(r, h) for r, h in zip(refs[:share], hyps[:share])])
    peer_s *= args.pairs / share
    print(machine())
    print(f"{args.pairs} pairs of {args.length} tokens, {args.errors:.0%} errors; peer: {peer_name}")
    print(f"{'peer (from ' + str(share) + ' pairs)':34} {peer_s:9.3f} s")
    total_s, _ = cpu_seconds(total_errors, refs, hyps)
    count_s, counts = cpu_seconds(count_edits, refs, hyps)
    ops_s, _ = cpu_seconds(edit_ops, refs, hyps)
    for name, seconds, wanted in (("totals", total_s, 300), ("exact S/D/I", count_s, 70), ("alignments", ops_s, 70)):
        print(f"{name:34} {seconds:9.3f} s   1/{peer_s / seconds:.0f} of the peer (wanted: 1/{wanted})")
    differing = sum(tuple(ours[1:]) != theirs for ours, theirs in zip(counts.tolist(), peer_counts))
    print(f"{'splits that differ from the peer':34} {differing} of {share}")
    wrong = sum(sum(ours[1:]) != sum(theirs) for ours, theirs in zip(counts.tolist(), peer_counts))
    print(f"{'totals that differ from the peer':34} {wrong} of {share}")

    long_ref, long_hyp = make_pairs(1, 20_000, 0.1, seed=2)
    long_s, _ = cpu_seconds(count_edits, long_ref, long_hyp)
    # ru_maxrss is in KiB; the pairs above are in it.
    print(
        f"{'one pair of 20,000 tokens':34} {long_s:9.3f} s   (wanted: 1 s) peak memory of this process "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB (wanted: 200 MB)"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
