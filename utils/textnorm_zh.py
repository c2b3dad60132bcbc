#!/usr/bin/env python3
"""Command line of SpeechIO's textnorm_zh.py, both generations: ``textnorm_zh.py [flags] IN OUT``.

``--has_key`` without any flag that only the newest tool has, and without ``--remove_*``, is how FunASR's 2023 recipes
called their copy: fillers and erhua are removed, an empty text is written as ``key<TAB>``. Every other call behaves as
the newest tool: every step only where its flag is given, no line at all for an empty text.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from funrecipe.errors import DataError, FunrecipeError, UsageError  # noqa: E402
from funrecipe.files import write_text  # noqa: E402
from funrecipe.text.normalize.speechio import SpeechioFlags, normalize  # noqa: E402

REMOVE_FLAGS = ("--remove_fillers", "--remove_erhua")


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    # In 2023 the two flags took a value (`--remove_erhua ''` switches off, anything else on); today they take none.
    tokens: list[str] = []
    for token in argv:
        if tokens and tokens[-1] in REMOVE_FLAGS and token in ("", "True", "False", "true", "false"):
            tokens[-1] += f"={token}"
        else:
            tokens.append(token)
    tokens = [f"{token}=True" if token in REMOVE_FLAGS else token for token in tokens]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to_banjiao", action="store_true", help="full-width to half-width")
    parser.add_argument("--to_upper", action="store_true")
    parser.add_argument("--to_lower", action="store_true")
    parser.add_argument("--remove_fillers", type=bool, metavar="[VALUE]", help="delete 呃 and 啊")
    parser.add_argument("--remove_erhua", type=bool, metavar="[VALUE]", help="delete 儿 outside a list of words")
    parser.add_argument("--check_chars", action="store_true", help="empty a text with characters outside the standard")
    parser.add_argument("--remove_space", action="store_true")
    parser.add_argument("--cc_mode", choices=["", "t2s", "s2t"], default="", help="needs OpenCC")
    parser.add_argument("--log_interval", type=int, default=10000, help="lines between two lines of progress")
    parser.add_argument("--has_key", action="store_true", help="lines are 'key text' (2023; today --format=ark)")
    parser.add_argument("--format", choices=["txt", "ark", "tsv"], help="default: txt")
    parser.add_argument("ifile")
    parser.add_argument("ofile")
    args = parser.parse_args(tokens)

    newest_only = args.to_banjiao or args.check_chars or args.remove_space or args.cc_mode or args.format
    switched_on = args.remove_fillers or args.remove_erhua
    args.funasr2023 = args.has_key and not newest_only and not switched_on
    if args.funasr2023 and args.to_upper and args.to_lower:
        raise UsageError("--to_upper and --to_lower together")
    if args.has_key:
        args.format = "ark"
    return args


def read_items(path: str, file_format: str) -> Iterator[tuple[str, str]]:
    """(what goes before the text, text) of every line of an ark or txt file."""
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if file_format == "txt":
                yield "", line.strip()
                continue
            fields = line.strip().split(maxsplit=1)
            if not fields:
                raise DataError("blank line: no key", where=f"{path}:{number}")
            yield f"{fields[0]}\t", fields[1] if len(fields) == 2 else ""


def report(done: int, log_interval: int) -> None:
    if log_interval > 0 and done % log_interval == 0:
        print(f"text norm: {done} lines done.", file=sys.stderr, flush=True)


def normalize_lines(args: argparse.Namespace, flags: SpeechioFlags) -> Iterator[str]:
    for done, (key, text) in enumerate(read_items(args.ifile, args.format or "txt"), start=1):
        text = normalize(text, flags) if text else ""
        if text or args.funasr2023:
            yield f"{key}{text}"
        report(done, args.log_interval)
        args.done = done


def normalize_table(args: argparse.Namespace, flags: SpeechioFlags) -> Iterator[str]:
    """A metadata.tsv: only the TEXT column changes; rows without text are left out."""
    with open(args.ifile, encoding="utf-8") as stream:
        reader = csv.DictReader(stream, delimiter="\t")
        names = list(reader.fieldnames or [])
        if "TEXT" not in names:
            raise DataError("no column TEXT", where=f"{args.ifile}:1", hint=f"columns are: {', '.join(names)}")
        yield "\t".join(names)
        for done, row in enumerate(reader, start=1):
            text = normalize(row["TEXT"], flags) if row["TEXT"] else ""
            if text:
                yield "\t".join((row | {"TEXT": text})[name] or "" for name in names)
            report(done, args.log_interval)
            args.done = done


def main(argv: list[str]) -> int:
    try:
        args = parse_arguments(argv)
        on_by_default = args.funasr2023
        flags = SpeechioFlags(
            to_banjiao=args.to_banjiao,
            to_upper=args.to_upper,
            to_lower=args.to_lower,
            remove_fillers=on_by_default if args.remove_fillers is None else args.remove_fillers,
            remove_erhua=on_by_default if args.remove_erhua is None else args.remove_erhua,
            check_chars=args.check_chars,
            remove_space=args.remove_space,
            cc_mode=args.cc_mode,
            funasr2023=args.funasr2023,
        )
        args.done = 0
        lines = normalize_table(args, flags) if args.format == "tsv" else normalize_lines(args, flags)
        write_text(args.ofile, (f"{line}\n" for line in lines))
    except FunrecipeError as error:
        print(f"textnorm_zh.py: {error}", file=sys.stderr)
        return error.exit_code
    except UnicodeDecodeError as error:
        print(f"textnorm_zh.py: {args.ifile} is not UTF-8: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"textnorm_zh.py: {error}", file=sys.stderr)
        return 3
    print(f"text norm: {args.done} lines done in total.", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
