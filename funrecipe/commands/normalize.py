"""``funrecipe normalize --profile P IN OUT``: every line of IN is ``key<TAB>text`` or ``key text``, and so is OUT.

Every input line gives one output line, ``key<TAB>`` when nothing is left of the text, so that no key is ever lost.
Output appears when all lines are right, but between two pipes or terminals as the lines arrive.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, cast

from funrecipe.data.list_file import BLANK_LINE, Problem, arriving_blocks, blocks_of, usable_lines_in
from funrecipe.data.utterances import raise_for_errors_in
from funrecipe.errors import DataError
from funrecipe.files import atomic_write, special_file
from funrecipe.text.normalize import PROFILES, get_profile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", choices=PROFILES, default="strict", help="which rules (default: %(default)s)")
    parser.add_argument("input", metavar="IN", help="lines 'key<TAB>text' or 'key text'; - reads standard input")
    parser.add_argument("output", metavar="OUT", help="lines 'key<TAB>text'; - writes standard output")


def run(args: argparse.Namespace) -> int:
    profile = get_profile(args.profile)
    num_lines, problems = 0, list[Problem]()
    source = Path("standard input" if args.input == "-" else args.input)
    is_live = bool(args.input == args.output == "-" and special_file("/dev/stdin") and special_file("/dev/stdout"))
    with ExitStack() as stack:
        try:
            lines = sys.stdin.buffer if args.input == "-" else stack.enter_context(open(args.input, "rb"))
        except OSError as error:
            raise DataError(f"cannot read {args.input}: {error.strerror}", where=args.input) from None
        blocks = arriving_blocks(cast(BufferedReader, lines)) if is_live else blocks_of(lines)
        out = stack.enter_context(_output(args.output, is_live))
        for _, keys, texts in usable_lines_in(blocks, source, problems):
            normalized = (f"{key}\t{profile.normalize(text.strip())}\n" for key, text in zip(keys, texts))
            out.write("".join(normalized).encode())
            num_lines += len(keys)
            if is_live:
                out.flush()
        without_key = [replace(p, is_error=True) for p in problems if p.what.startswith(BLANK_LINE)]
        raise_for_errors_in([*problems, *without_key], source, "fix the lines")
    print(f"normalize: {num_lines} lines, profile {profile.name} {profile.version}", file=sys.stderr)
    return 0


@contextmanager
def _output(name: str, is_live: bool) -> Iterator[IO[bytes]]:
    """What to write to: unless it ``is_live``, nothing is seen of it after an error."""
    if name != "-":
        with atomic_write(name, "wb") as file:
            yield file
    elif is_live:
        yield sys.stdout.buffer
    else:
        with TemporaryFile() as held:
            yield held
            held.seek(0)
            shutil.copyfileobj(held, sys.stdout.buffer)
            sys.stdout.flush()
