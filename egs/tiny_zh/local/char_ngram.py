"""A character n-gram model (ARPA) of texts and of a word list with frequencies.

Run: ``char_ngram.py --tokens tokens.txt --words dict.txt --text text ... --output ngram.arpa.gz``. The words (``WORD
FREQUENCY ...`` a line)
teach what follows what inside a word; where a word ends, anything may follow, so that mass goes to the back-off. The
texts teach the rest. Interpolated Witten-Bell estimates (Witten and Bell 1991), written as a back-off model.
"""

from __future__ import annotations

import argparse
import gzip
import math
import unicodedata
from collections import Counter
from pathlib import Path

BEGIN, END = "<s>", "</s>"
Ngram = tuple[str, ...]


def characters(text: str, known: set[str]) -> list[str]:
    return [c if c in known else "<unk>" for c in unicodedata.normalize("NFKC", text).lower() if not c.isspace()]


class Counts:
    """How often n-grams occur, and how often a history was the end of a word, after which anything may come."""

    def __init__(self, order: int) -> None:
        self.order = order
        self.ngrams: list[Counter[Ngram]] = [Counter() for _ in range(order + 1)]
        self.ends: Counter[Ngram] = Counter()

    def add(self, sequence: list[str], weight: float) -> None:
        for n in range(1, self.order + 1):
            for i in range(len(sequence) - n + 1):
                self.ngrams[n][tuple(sequence[i : i + n])] += weight

    def add_words(self, path: Path, known: set[str], total: float) -> None:
        """Words of known characters, their frequencies scaled to sum to ``total``."""
        entries = (line.split()[:2] for line in path.read_text("utf-8").splitlines())
        words = {word: float(frequency) for word, frequency in entries if all(c in known for c in word)}
        scale = total / sum(words.values())
        for word, frequency in words.items():
            self.add(list(word), frequency * scale)
            for n in range(1, min(self.order, len(word) + 1)):
                self.ends[tuple(word[-n:])] += frequency * scale

    def add_text(self, path: Path, known: set[str], weight: float) -> None:
        for line in path.read_text("utf-8").splitlines():
            _, _, text = line.partition(" ")
            if text.strip():
                self.add([BEGIN, *characters(text, known), END], weight)


def estimate(counts: Counts, cutoffs: list[float], vocabulary: set[str]) -> list[dict[Ngram, float]]:
    """Probabilities by order; an n-gram below its cut-off is left to the back-off."""
    unigrams = counts.ngrams[1]
    total = sum(c for gram, c in unigrams.items() if gram != (BEGIN,))
    kinds = len(vocabulary) + 1
    lower: dict[Ngram, float] = {(w,): (unigrams[(w,)] + 0.5) / (total + 0.5 * kinds) for w in [*vocabulary, END]}
    tables: list[dict[Ngram, float]] = [{}, lower]
    for n in range(2, counts.order + 1):
        kept = {gram: c for gram, c in counts.ngrams[n].items() if c >= cutoffs[n - 1]}
        seen: Counter[Ngram] = Counter()
        types: Counter[Ngram] = Counter()
        for gram, c in kept.items():
            seen[gram[:-1]] += c
            types[gram[:-1]] += 1
        table = {}
        for gram, c in kept.items():
            history = gram[:-1]
            mass = seen[history] + types[history] + counts.ends[history]
            table[gram] = c / mass + (1 - seen[history] / mass) * probability(tables, gram[1:])
        tables.append(table)
        # The back-off weights of interpolation.
        tables[0].update({h: 1 - c / (c + types[h] + counts.ends[h]) for h, c in seen.items()})
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
    parser.add_argument("--text_weight", type=float, default=3.0, help="how often each text counts")
    parser.add_argument("--words_weight", type=float, default=300000.0, help="how many words the word list counts as")
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument(
        "--cutoffs", type=float, nargs="*", default=[0, 0.3, 0.5, 0.5], help="smallest counts, by order"
    )
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    vocabulary = {t for t in args.tokens.read_text("utf-8").split() if t not in ("<blank>", BEGIN, END)}
    counts = Counts(args.order)
    if args.words:
        counts.add_words(args.words, vocabulary, args.words_weight)
    for path in args.text:
        counts.add_text(path, vocabulary, args.text_weight)
    tables = estimate(counts, args.cutoffs, vocabulary)
    write_arpa(args.output, tables)
    print(f"{args.output}: " + ", ".join(f"{len(tables[n])} {n}-grams" for n in range(1, args.order + 1)))


if __name__ == "__main__":
    main()
