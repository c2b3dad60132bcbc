"""The files of a model folder, read as plain data: YAML without tags, JSON, token lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from funrecipe.errors import DataError, UnsafeFileError

MAX_BYTES = 64 << 20  # of a description or a token list; a vocabulary of 8,404 tokens takes 0.1 MB
MAX_NODES = 2_000_000


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping (or nothing), without executing anything in it."""
    return _parse_yaml(path)[0]


def read_config(path: Path) -> tuple[dict[str, Any], list[str] | str | None]:
    """``config.yaml`` and its ``token_list`` apart.

    The token list is taken as it is written: YAML would read the tokens ``no``, ``6`` and ``-``
    as False, a number and a list, and published files do not quote them.
    """
    config, root = _parse_yaml(path)
    token_list: list[str] | str | None = None
    for key, value in root.value if root is not None else ():
        if key.value == "token_list":
            token_list = value.value if isinstance(value, yaml.ScalarNode) else [_written(node) for node in value.value]
    config.pop("token_list", None)
    return config, None if token_list in ("", "null", "~") else token_list


def read_json(path: Path) -> Any:
    """The value in a JSON file; raises DataError with file and line."""
    try:
        return json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"not valid JSON: {error.msg}", where=f"{path}:{error.lineno}") from None
    except RecursionError:
        raise DataError("JSON nested too deeply", where=str(path)) from None
    except ValueError as error:
        raise DataError(f"unreadable value: {str(error).split(';')[0]}", where=str(path)) from None


def read_token_file(path: Path) -> list[str]:
    """``tokens.json`` (a list) or ``tokens.txt`` (one token per line); raises DataError where a token is empty."""
    if path.suffix != ".json":
        tokens = [line.rstrip("\r") for line in _read_text(path).split("\n")]
        tokens = tokens[:-1] if tokens and not tokens[-1] else tokens
    else:
        tokens = read_json(path)
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise DataError("expected a JSON list of strings", where=str(path))
    if not tokens or "" in tokens:
        line = tokens.index("") + 1 if tokens else 1
        raise DataError("a token list needs one token per line, and no empty line", where=f"{path}:{line}")
    return tokens


class _PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The C parser (20 times faster on 8,404 tokens). Dates stay text: no setting is one, and 2023-02-30 is invalid."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _parse_yaml(path: Path) -> tuple[dict[str, Any], yaml.MappingNode | None]:
    loader = _PlainLoader(_read_text(path))
    try:
        root = loader.get_single_node()
        _check_size(root, path)
        value = loader.construct_document(root) if root is not None else {}
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UnsafeFileError(
            f"YAML is not plain data: {error.problem}",
            where=f"{path}:{line}",
            hint="remove the tag; only strings, numbers, lists and mappings are read",
        ) from None
    except yaml.YAMLError as error:
        raise DataError(f"not valid YAML: {error}", where=str(path)) from None
    except RecursionError:
        raise DataError("YAML nested too deeply", where=str(path)) from None
    except ValueError as error:  # such as an integer of thousands of digits
        raise DataError(f"unreadable value: {str(error).split(';')[0]}", where=str(path)) from None
    finally:
        loader.dispose()
    if not isinstance(value, dict) or not isinstance(root, (yaml.MappingNode, type(None))):
        raise DataError(f"expected 'key: value' lines, found a {type(value).__name__}", where=str(path))
    return value, root


def _check_size(root: yaml.Node | None, path: Path) -> None:
    """Refuse, before anything is built, expanding aliases, recursive aliases, and keys that are not text."""
    sizes: dict[int, int] = {}

    def size_of(node: yaml.Node) -> int:
        if id(node) in sizes:
            if not sizes[id(node)]:
                raise DataError("a YAML alias that contains itself", where=f"{path}:{node.start_mark.line + 1}")
            return sizes[id(node)]
        if isinstance(node, yaml.ScalarNode):
            return 1
        sizes[id(node)] = 0  # being counted
        children = node.value
        if isinstance(node, yaml.MappingNode):
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise DataError("a YAML key that is not text", where=f"{path}:{key.start_mark.line + 1}")
                if key.tag != "tag:yaml.org,2002:merge":
                    key.tag = "tag:yaml.org,2002:str"  # `no:` and `.nan:` are names like any other
            children = [value for _, value in node.value]
        total = 1 + sum(map(size_of, children))
        if total > MAX_NODES:
            raise DataError(f"more than {MAX_NODES} YAML values, including aliases", where=str(path))
        sizes[id(node)] = total
        return total

    if root is not None:
        size_of(root)


def _written(node: yaml.Node) -> str:
    """A list item as the author wrote it; the token ``-`` parses as a list of one empty item."""
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    return "-" if isinstance(node, yaml.SequenceNode) else "?"


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"larger than {MAX_BYTES >> 20} MB", where=str(path))
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 (byte {error.start})", where=str(path)) from None
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror}", where=str(path)) from None
