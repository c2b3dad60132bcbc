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
    from funrecipe.data.list_file import read_list_file, unique_lines
    from funrecipe.decode.language_model import load_language_model
    from funrecipe.decode.ngram import load_arpa
    from funrecipe.decode.perplexity import score_sentences, total_score
    from funrecipe.errors import DataError, list_problems
    from funrecipe.model_folder import open_model_folder

    folder = open_model_folder(args.model)
    problems: list = []
    lines = unique_lines(read_list_file(args.text, problems), args.text, problems)
    if errors := [str(problem) for problem in problems if problem.is_error]:
        raise DataError(f"{len(errors)} lines cannot be used:\n{list_problems(errors)}", where=str(args.text))
    if not lines:
        raise DataError("no sentence", where=str(args.text))
    model = load_arpa(args.arpa, folder.tokens) if args.arpa else load_language_model(folder)
    tokenizer = folder.tokenizer
    scores = score_sentences(model, [tokenizer.encode(line.value) for line in lines.values()])
    unknown = [len(tokenizer.missing(line.value)) for line in lines.values()]
    table = "".join(
        f"{key}\t{score.log_prob:.4f}\t{score.perplexity:.4f}\t{score.n_tokens}\t{missing}\n"
        for key, score, missing in zip(lines, scores, unknown, strict=True)
    )
    write(table, args.output)
    total = total_score(scores)
    print(
        f"perplexity {total.perplexity:.4f}  log-probability {total.log_prob:.4f}  sentences {len(scores)}  "
        f"tokens {total.n_tokens}  unknown {sum(unknown)}",
        file=sys.stderr,
    )


def write(table: str, output: str) -> None:
    """To standard output, or to a file in one step."""
    if output == "-":
        sys.stdout.write(table)
        return
    from funrecipe.files import write_text

    write_text(output, table)
