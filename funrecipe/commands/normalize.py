"""``funrecipe normalize --profile P IN OUT``: every line of IN is ``key<TAB>text`` or ``key text``, and so is OUT.

Every input line gives one output line, ``key<TAB>`` when nothing is left of the text, so that no key is ever lost.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from tempfile import TemporaryFile

from funrecipe.errors import DataError
from funrecipe.files import atomic_write
from funrecipe.text.normalize import PROFILES, get_profile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", choices=PROFILES, default="strict", help="which rules (default: %(default)s)")
    parser.add_argument("input", metavar="IN", help="lines 'key<TAB>text' or 'key text'; - reads standard input")
    parser.add_argument("output", metavar="OUT", help="lines 'key<TAB>text'; - writes standard output")


def _split_lines(lines: Iterable[bytes], source: str) -> Iterator[tuple[str, str]]:
    """Key and text of every line, spaces at both ends of the text removed."""
    for number, raw in enumerate(lines, start=1):
        try:
            fields = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip().split(maxsplit=1)
        except UnicodeDecodeError as error:
            raise DataError(f"not UTF-8: {error}", where=f"{source}:{number}", hint="convert it to UTF-8") from None
        if not fields:
            raise DataError("blank line: no key", where=f"{source}:{number}", hint="remove the line or give it a key")
        yield fields[0], fields[1] if len(fields) == 2 else ""


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
        for key, text in _split_lines(lines, "standard input" if args.input == "-" else args.input):
            out.write(f"{key}\t{profile.normalize(text)}\n".encode())
            num_lines += 1
        if is_printed:
            out.seek(0)
            shutil.copyfileobj(out, sys.stdout.buffer)
            sys.stdout.flush()
    print(f"normalize: {num_lines} lines, profile {profile.name} {profile.version}", file=sys.stderr)
    return 0
