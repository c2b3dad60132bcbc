"""A character n-gram model (ARPA) of word n-grams, of a word list with frequencies and of texts.

Run: ``char_ngram.py --tokens tokens.txt --open_gram FOLDER --words dict.txt --text text ... --output ngram.arpa.gz``.
Words teach what follows what inside a word, word n-grams what follows across words. Where nothing known follows,
anything may: that mass goes to the back-off. The model of words and the model of texts are interpolated.

A shorter n-gram is asked only where a longer one is missing, so its count is what the longer ones leave unexplained
(the idea of Kneser and Ney 1995). Pruning drops the n-grams whose loss costs least (weighted difference, Seymore and
Rosenfeld 1996), then everything is estimated again: the shorter ones now stand for what was dropped.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from pathlib import Path

import numpy as np
import open_gram
from char_counts import Counts, Vocabulary, add_open_gram, add_word_list

from funrecipe.errors import FunrecipeError, UsageError
from funrecipe.files import atomic_write

DISCOUNT = 0.7  # of a count, at most; seen once says little


class Model:
    """P(w|h) = (seen(h w) + rest(h) P(w|h')) / total(h), where h' is h without its first character.

    ``numbers[n]``: the n-grams, sorted; ``p[n]``: their probabilities; ``weights[n]``: their back-off weights.

    Args:
        kept: by order, the n-grams to estimate, the others are left to the back-off; None: all that were counted.
    """

    def __init__(self, counts: Counts, kept: list[np.ndarray] | None = None) -> None:
        self.size, self.order = counts.vocabulary.size, counts.order
        ngrams, ends = counts.sums()
        self.numbers, mass = [numbers for numbers, _ in ngrams], [c for _, c in ngrams]
        stays = [find(wanted, own) >= 0 for wanted, own in zip(kept or self.numbers, self.numbers)]
        for n in range(self.order, 1, -1):
            places = find(self.numbers[n - 1], self.numbers[n] % self.size ** (n - 1))
            explained = np.where(stays[n] & (places >= 0), np.maximum(mass[n] - DISCOUNT, 0), 0)
            taken = np.bincount(places.clip(min=0), explained, len(self.numbers[n - 1]))
            mass[n - 1] = np.maximum(mass[n - 1] - taken, 0)
        unigrams = np.where(np.arange(self.size) > 0, mass[1] + 0.5, 0)  # <s> does not follow anything
        self.p, self.weights = [np.ones(1), unigrams / unigrams.sum()], [np.ones(1)]
        for n in range(2, self.order + 1):
            history, n_histories = find(self.numbers[n - 1], self.numbers[n] // self.size), len(self.numbers[n - 1])
            rows = history >= 0
            kept_rows = stays[n] & rows
            seen = np.where(kept_rows, mass[n] - DISCOUNT * np.minimum(mass[n], 1), 0)
            total = np.bincount(history[rows], mass[n][rows], n_histories) + at(self.numbers[n - 1], *ends[n - 1])
            share = 1 / np.where(total > 0, total, 1)
            self.weights.append(1 - share * np.bincount(history[rows], seen[rows], n_histories))
            self.numbers[n], history, seen = self.numbers[n][kept_rows], history[kept_rows], seen[kept_rows]
            self.p.append(seen * share[history] + self.weights[-1][history] * self.shorter(n))

    def shorter(self, n: int) -> np.ndarray:
        """P(w|h') of every n-gram h w."""
        return self.probability(self.numbers[n] % self.size ** (n - 1), n - 1)

    def probability(self, numbers: np.ndarray, n: int) -> np.ndarray:
        """Of the last character after the others, for any n-grams."""
        places = find(self.numbers[n], numbers)
        p, missing = self.p[n][places] if len(self.p[n]) else np.zeros(len(places)), places < 0
        if missing.any():
            history = find(self.numbers[n - 1], numbers[missing] // self.size)
            weights = np.where(history >= 0, self.weights[n - 1][history], 1.0)
            p[missing] = weights * self.probability(numbers[missing] % self.size ** (n - 1), n - 1)
        return p


class Mixture(Model):
    """The weighted mean of models, as one back-off model of the n-grams of all."""

    def __init__(self, models: list[Model], shares: list[float]) -> None:
        self.size, self.order = models[0].size, models[0].order
        self.numbers = [np.unique(np.concatenate(numbers)) for numbers in zip(*(model.numbers for model in models))]
        self.p, self.weights = [np.ones(1)], [np.ones(1)]
        for n in range(1, self.order + 1):
            own = np.array([model.probability(self.numbers[n], n) for model in models])
            self.p.append(shares @ own)
            if n > 1:
                self.weights.append(np.ones(len(self.numbers[n - 1])))
                history = find(self.numbers[n - 1], self.numbers[n] // self.size)
                left, lower = (
                    np.maximum(1 - np.bincount(history, p, len(self.numbers[n - 1])), 1e-7)
                    for p in (self.p[n], self.shorter(n))
                )
                self.weights[-1] = left / lower

    def most_useful(self, frequencies: list[np.ndarray], count: int) -> list[np.ndarray]:
        """About ``count`` n-grams of two characters or more, whose loss would cost most; their histories stay too."""
        gains = [np.zeros(0), np.zeros(self.size)]
        history = [
            find(self.numbers[n - 1], self.numbers[n] // self.size) if n > 1 else None for n in range(self.order + 1)
        ]
        for n in range(2, self.order + 1):
            without = self.weights[n - 1][history[n]] * self.shorter(n)
            gains.append(frequencies[n] * np.log(self.p[n] / without))
        for n in range(self.order, 2, -1):
            np.maximum.at(gains[n - 1], history[n], gains[n])
        every = np.sort(np.concatenate(gains[2:]))
        threshold = max(0.0, every[len(every) - count - 1]) if count < len(every) else 0.0
        return [*self.numbers[:2], *(k[gain > threshold] for k, gain in zip(self.numbers[2:], gains[2:]))]


def train(parts: list[tuple[Counts, float]], count: int) -> Mixture:
    """The mixture of the models of ``parts`` (counts, share), pruned to about ``count`` n-grams."""
    tables, shares = [counts.sums()[0] for counts, _ in parts], [share for _, share in parts]
    full = Mixture([Model(counts) for counts, _ in parts], shares)
    frequencies = [
        sum(share * at(numbers, *table[n]) / table[1][1].sum() for table, share in zip(tables, shares))
        for n, numbers in enumerate(full.numbers)
    ]
    kept = full.most_useful(frequencies, count)
    return Mixture([Model(counts, kept) for counts, _ in parts], shares)


def find(table: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Where ``numbers`` are in the sorted ``table``; -1: nowhere."""
    if not len(table):
        return np.full(len(numbers), -1)
    places = np.searchsorted(table, numbers).clip(max=len(table) - 1)
    return np.where(table[places] == numbers, places, -1)


def at(wanted: np.ndarray, numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The ``values`` that ``numbers`` (sorted) have, for every number of ``wanted``; 0 where they lack it."""
    places = find(numbers, wanted)
    return np.where(places >= 0, values[places], 0.0) if len(values) else np.zeros(len(wanted))


def write_arpa(path: Path, model: Model, tokens: list[str]) -> None:
    """In one step, gzip-compressed, the same bytes for the same model."""
    with atomic_write(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, 0) as file:
        sizes = "".join(f"ngram {n}={len(model.p[n])}\n" for n in range(1, model.order + 1))
        file.write(f"\\data\\\n{sizes}".encode())
        for n in range(1, model.order + 1):
            log10 = np.log10(np.maximum(model.p[n], 1e-9))
            backoffs = np.log10(model.weights[n]) if n < model.order else np.zeros(len(log10))
            columns = [model.numbers[n] // model.size**i % model.size for i in reversed(range(n))]
            lines = [f"\n\\{n}-grams:\n"]
            for p, backoff, *ids in zip(log10.tolist(), backoffs.tolist(), *(column.tolist() for column in columns)):
                words = " ".join([tokens[i] for i in ids])
                lines.append(f"{p:.2f}\t{words}\t{backoff:.2f}\n" if abs(backoff) >= 0.005 else f"{p:.2f}\t{words}\n")
            file.write("".join(lines).encode())
        file.write(b"\n\\end\\\n")


def parts_of(args: argparse.Namespace, vocabulary: Vocabulary) -> list[tuple[Counts, float]]:
    words, texts = Counts(vocabulary, args.order), Counts(vocabulary, args.order)
    if args.open_gram:
        add_open_gram(words, args.open_gram, args.open_gram_words)
    if args.words:
        add_word_list(words, args.words, args.list_words)
    for path in args.text:
        texts.add_text(path)
    if args.text and (args.open_gram or args.words):
        return [(texts, args.text_share), (words, 1 - args.text_share)]
    if not (args.text or args.open_gram or args.words):
        raise UsageError("nothing to count", hint="give --open_gram, --words or --text")
    return [(texts if args.text else words, 1.0)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--open_gram", type=Path, help=f"folder of {open_gram.MODEL} and {open_gram.DICTIONARY}")
    parser.add_argument("--words", type=Path, help="word list with frequencies")
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="Kaldi text files")
    parser.add_argument("--open_gram_words", type=float, default=3e7, help="how many running words open-gram counts as")
    parser.add_argument("--list_words", type=float, default=6e6, help="how many running words the word list counts as")
    parser.add_argument("--text_share", type=float, default=0.5, help="share of the texts in the mixture")
    parser.add_argument("--order", type=int, default=4)
    parser.add_argument("--ngrams", type=int, default=250000, help="how many to keep")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    try:
        vocabulary = Vocabulary(args.tokens, args.order)
        model = train(parts_of(args, vocabulary), args.ngrams)
    except FunrecipeError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    write_arpa(args.output, model, vocabulary.tokens)
    print(f"{args.output}: " + ", ".join(f"{len(model.p[n])} {n}-grams" for n in range(1, args.order + 1)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
