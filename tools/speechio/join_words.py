#!/usr/bin/env python3
"""join_words.py TEXT RAW_REC: written text from recognized words: no spaces beside Chinese characters.

The leaderboard's normalizer knows 女儿 and 2023年, but not 女 儿 and 2 0 2 3 年.
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from funrecipe.data.texts import read_texts  # noqa: E402
from funrecipe.files import write_text  # noqa: E402
from funrecipe.score.tokenize import CJK  # noqa: E402

BLANK_BESIDE_CJK = re.compile(rf"(?<=[{CJK}])\s+|\s+(?=[{CJK}])")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("raw_rec")
    args = parser.parse_args()
    texts = read_texts(args.text)
    write_text(args.raw_rec, (f"{i}\t{BLANK_BESIDE_CJK.sub('', text)}\n" for i, text in texts.items()))
