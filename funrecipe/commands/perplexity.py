"""``funrecipe perplexity --model M TEXT [OUT]``: how well a language model predicts every line of a Kaldi ``text``.

OUT has a line per sentence: ``key<TAB>log-probability (natural)<TAB>perplexity<TAB>tokens<TAB>unknown tokens``; the end
of a sentence counts as a token. The total goes to standard error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="folder of a language model, or of a recognizer that has one")
    parser.add_argument("--arpa", type=Path, help="score with this n-gram model over the tokens of --model instead")
    parser.add_argument("text", metavar="TEXT", type=Path, help="lines 'key words'")
    parser.add_argument("output", metavar="OUT", nargs="?", default="-", help="- (default): standard output")


def run(args: argparse.Namespace) -> None:
    from funrecipe.data.kaldi_dir import read_texts
    from funrecipe.decode.language_model import load_language_model
    from funrecipe.decode.ngram import load_arpa
    from funrecipe.decode.perplexity import score_sentences, total_score
    from funrecipe.errors import DataError
    from funrecipe.files import write_text
    from funrecipe.model_folder import open_model_folder

    folder = open_model_folder(args.model)
    lines = read_texts(args.text)
    if not lines:
        raise DataError("no sentence", where=str(args.text), hint="write lines 'key words'")
    model = load_arpa(args.arpa, folder.tokens) if args.arpa else load_language_model(folder)
    tokenizer = folder.tokenizer
    scores = score_sentences(model, [tokenizer.encode(line) for line in lines.values()])
    unknown = [len(tokenizer.missing(line)) for line in lines.values()]
    table = "".join(
        f"{key}\t{score.log_prob:.4f}\t{score.perplexity:.4f}\t{score.n_tokens}\t{missing}\n"
        for key, score, missing in zip(lines, scores, unknown, strict=True)
    )
    if args.output == "-":
        sys.stdout.write(table)
    else:
        write_text(args.output, table)
    total = total_score(scores)
    print(
        f"perplexity {total.perplexity:.4f}  log-probability {total.log_prob:.4f}  sentences {len(scores)}  "
        f"tokens {total.n_tokens}  unknown {sum(unknown)}",
        file=sys.stderr,
    )
