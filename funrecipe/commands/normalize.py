"""``funrecipe normalize --profile P IN OUT``: every line of IN is ``key<TAB>text`` or ``key text``, and so is OUT.

Every input line gives one output line, ``key<TAB>`` when nothing is left of the text, so that no key is ever lost.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

from funrecipe.data.list_file import BLANK_LINE, Problem, usable_lines_in
from funrecipe.data.utterances import raise_for_errors_in
from funrecipe.errors import DataError
from funrecipe.files import atomic_write
from funrecipe.text.normalize import PROFILES, get_profile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", choices=PROFILES, default="strict", help="which rules (default: %(default)s)")
    parser.add_argument("input", metavar="IN", help="lines 'key<TAB>text' or 'key text'; - reads standard input")
    parser.add_argument("output", metavar="OUT", help="lines 'key<TAB>text'; - writes standard output")


def run(args: argparse.Namespace) -> int:
    profile = get_profile(args.profile)
    num_lines = 0
    with ExitStack() as stack:
        try:
            lines = sys.stdin.buffer if args.input == "-" else stack.enter_context(open(args.input, "rb"))
        except OSError as error:
            raise DataError(f"cannot read {args.input}: {error.strerror}", where=args.input) from None
        is_printed = args.output == "-"  # when all lines are right
        file = TemporaryFile() if is_printed else atomic_write(args.output, "wb")  # noqa: SIM115  # entered below
        out = stack.enter_context(file)
        source, problems = Path("standard input" if args.input == "-" else args.input), list[Problem]()
        for _, keys, texts in usable_lines_in(lines, source, problems):
            normalized = (f"{key}\t{profile.normalize(text.strip())}\n" for key, text in zip(keys, texts))
            out.write("".join(normalized).encode())
            num_lines += len(keys)
        without_key = [replace(p, is_error=True) for p in problems if p.what.startswith(BLANK_LINE)]
        raise_for_errors_in([*problems, *without_key], source, "fix the lines")
        if is_printed:
            out.seek(0)
            shutil.copyfileobj(out, sys.stdout.buffer)
            sys.stdout.flush()
    print(f"normalize: {num_lines} lines, profile {profile.name} {profile.version}", file=sys.stderr)
    return 0
