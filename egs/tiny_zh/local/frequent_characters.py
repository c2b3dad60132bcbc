"""The most frequent Chinese characters of a word list with frequencies (``WORD FREQUENCY ...`` a line), as one word.

Run: ``frequent_characters.py dict.txt --count N``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path


def frequent_characters(words: Path, count: int) -> str:
    total: Counter[str] = Counter()
    for line in words.read_text("utf-8").splitlines():
        word, frequency = line.split()[:2]
        for character in word:
            if "\u4e00" <= character <= "\u9fff":
                total[character] += int(frequency)
    return "".join(character for character, _ in total.most_common(count))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", type=Path)
    parser.add_argument("--count", type=int, required=True)
    args = parser.parse_args()
    print(frequent_characters(args.words, args.count))
