"""A character n-gram model (ARPA) of a text and of a word list with frequencies.

Run: ``char_ngram.py --tokens tokens.txt --words dict.txt --text text ... --output ngram.arpa.gz``. Words (``WORD
FREQUENCY ...`` a line)
are drawn by frequency into made-up sentences, which teach what follows what inside a word; the texts teach the rest.
Interpolated Witten-Bell estimates (Witten and Bell 1991), written as a back-off model.
"""

from __future__ import annotations

import argparse
import gzip
import math
import random
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

BEGIN, END = "<s>", "</s>"
Ngram = tuple[str, ...]


def characters(text: str, known: set[str]) -> list[str]:
    return [c if c in known else "<unk>" for c in unicodedata.normalize("NFKC", text).lower() if not c.isspace()]


def made_up_sentences(words: Path, known: set[str], count: int, chooser: random.Random) -> list[list[str]]:
    """Sentences of two to six words drawn by frequency; words with an unknown character are left out."""
    listed, weights = [], []
    for line in words.read_text("utf-8").splitlines():
        word, frequency, *_ = line.split()
        if all(c in known for c in word):
            listed.append(word)
            weights.append(float(frequency))
    drawn = chooser.choices(listed, weights, k=4 * count)
    sentences, place = [], 0
    while place < len(drawn):
        size = chooser.randint(2, 6)
        sentences.append(list("".join(drawn[place : place + size])))
        place += size
    return sentences


def count_ngrams(sentences: list[list[str]], order: int, weight: int, counts: list[Counter[Ngram]]) -> None:
    for sentence in sentences:
        padded = [BEGIN, *sentence, END]
        for n in range(1, order + 1):
            for i in range(len(padded) - n + 1):
                counts[n][tuple(padded[i : i + n])] += weight


def estimate(
    counts: list[Counter[Ngram]], order: int, cutoffs: list[int], vocabulary: set[str]
) -> list[dict[Ngram, float]]:
    """Probabilities by order; an n-gram below its cut-off is left to the back-off."""
    total = sum(c for gram, c in counts[1].items() if gram != (BEGIN,))
    kinds = len(vocabulary) + 1
    lower: dict[Ngram, float] = {(w,): (counts[1][(w,)] + 0.5) / (total + 0.5 * kinds) for w in [*vocabulary, END]}
    tables: list[dict[Ngram, float]] = [{}, lower]
    for n in range(2, order + 1):
        kept = {gram: c for gram, c in counts[n].items() if c >= cutoffs[n]}
        seen, types = defaultdict(int), defaultdict(int)
        for gram, c in kept.items():
            seen[gram[:-1]] += c
            types[gram[:-1]] += 1
        table = {}
        for gram, c in kept.items():
            history = gram[:-1]
            share = seen[history] / (seen[history] + types[history])
            table[gram] = share * c / seen[history] + (1 - share) * probability(tables, gram[1:])
        tables.append(table)
        tables[0].update({h: types[h] / (seen[h] + types[h]) for h in seen})  # back-off weights of interpolation
    return tables


def probability(tables: list[dict[Ngram, float]], gram: Ngram) -> float:
    """By the tables that exist so far, backing off."""
    if len(gram) < len(tables) and gram in tables[len(gram)]:
        return tables[len(gram)][gram]
    if len(gram) == 1:
        return 1e-7
    return tables[0].get(gram[:-1], 1.0) * probability(tables, gram[1:])


def write_arpa(path: Path, tables: list[dict[Ngram, float]]) -> None:
    order = len(tables) - 1
    tables[1].setdefault((BEGIN,), 1e-9)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("\\data\\\n" + "".join(f"ngram {n}={len(tables[n])}\n" for n in range(1, order + 1)))
        for n in range(1, order + 1):
            file.write(f"\n\\{n}-grams:\n")
            for gram, p in sorted(tables[n].items()):
                backoff = f"\t{math.log10(tables[0][gram]):.3f}" if n < order and gram in tables[0] else ""
                file.write(f"{math.log10(p):.3f}\t{' '.join(gram)}{backoff}\n")
        file.write("\n\\end\\\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--words", type=Path)
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="Kaldi text files")
    parser.add_argument("--text_weight", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=100000, help="made-up sentences")
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument(
        "--cutoffs", type=int, nargs="*", default=[0, 1, 2, 3], help="smallest count of 1-, 2-, 3-grams"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    vocabulary = {t for t in args.tokens.read_text("utf-8").split() if t not in ("<blank>", BEGIN, END)}
    counts: list[Counter[Ngram]] = [Counter() for _ in range(args.order + 1)]
    if args.words:
        drawn = made_up_sentences(args.words, vocabulary, args.sentences, random.Random(args.seed))
        count_ngrams(drawn, args.order, 1, counts)
    for path in args.text:
        lines = [line.split(maxsplit=1) for line in path.read_text("utf-8").splitlines()]
        count_ngrams(
            [characters(line[1], vocabulary) for line in lines if len(line) == 2], args.order, args.text_weight, counts
        )
    tables = estimate(counts, args.order, [0, *args.cutoffs], vocabulary)
    write_arpa(args.output, tables)
    print(f"{args.output}: " + ", ".join(f"{len(tables[n])} {n}-grams" for n in range(1, args.order + 1)))


if __name__ == "__main__":
    main()
