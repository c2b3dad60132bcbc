"""Results and references of the same things: no rate is of a part of them."""

from __future__ import annotations

from collections.abc import Collection

from funrecipe.errors import DataError, IncompleteRunError


def require_results(references: Collection[str], results: Collection[str], kind: str, where: str, hint: str) -> None:
    """Raise IncompleteRunError, which names the first reference (of a ``kind``: texts ...) without a result."""
    if missing := sorted(set(references) - set(results)):
        what = f"no results for '{missing[0]}' ({len(missing)} of {len(references)} {kind})"
        raise IncompleteRunError(what, where=where, hint=hint)


def require_references(references: Collection[str], results: Collection[str], where: str, hint: str) -> None:
    """Raise DataError, which names the first id that only the results have."""
    if unknown := sorted(set(results) - set(references)):
        raise DataError(f"no reference for '{unknown[0]}' ({len(unknown)} in all)", where=where, hint=hint)
