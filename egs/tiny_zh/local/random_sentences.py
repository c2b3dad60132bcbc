"""Sentences of words drawn by frequency, for joining recorded syllables.

``random_sentences.py WORDS TOKENS --count N``

``WORDS`` has a ``WORD FREQUENCY`` line each (jieba's dict.txt, MIT license); words with a character outside ``TOKENS``
are left out.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", type=Path)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("--count", type=int, default=900)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    known = set(args.tokens.read_text("utf-8").split())
    words, weights = [], []
    for line in args.words.read_text("utf-8").splitlines():
        word, frequency, *_ = line.split()
        if len(word) <= 4 and int(frequency) > 50 and all(c in known and "\u4e00" <= c <= "\u9fff" for c in word):
            words.append(word)
            # Flattened, so that rare syllables are heard too; words of several characters say more than single ones.
            weights.append(int(frequency) ** 0.6 * (2 if len(word) > 1 else 1))
    chooser = random.Random(args.seed)
    for i in range(args.count):
        length, sentence = chooser.randint(4, 13), ""
        while len(sentence) < length:
            sentence += chooser.choices(words, weights)[0]
        print(f"GCN{i:05d} {sentence}")


if __name__ == "__main__":
    main()
