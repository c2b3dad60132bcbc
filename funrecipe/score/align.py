r"""Edit distance with Kaldi's choice among equally cheap alignments, for many pairs at once.

A pair is two strings, one character per token (``TokenEncoder`` maps words to characters). All edits cost 1. Among
cheapest alignments Kaldi's ``compute-wer`` (and SpeechIO's tool, and kaldialign) takes the one that, seen from the end,
prefers insertion to deletion to substitution; only then do S, D and I agree with theirs (the total is the same for
every choice).

All engines work on the same table. Cell (r, h) holds the cost of turning the first r tokens of the reference into the
first h of the hypothesis. An alignment is a path from the corner (0, 0) to the last cell, with a letter for each step:

               h   0   1   2   3
             r         a   x   b            (r-1, h-1)   (r-1, h)
             0     0   1   2   3                    C, S \    | D
             1 a   1   0   1   2            (r, h-1) -- I -> (r, h)
             2 b   2   1   1   1

Here the path is C I C. The way back from the last cell settles ties: it takes the first letter in the order of the
rule whose step explains the cost.

- totals need no path: rapidfuzz (bit-parallel C++);
- pairs up to ``SHORT_TOKENS`` tokens: ``_fill_table`` fills the tables of many pairs at once, one anti-diagonal of
  cells after the other, and ``_trace_back`` goes back through all of them;
- longer pairs: ``_align_long`` keeps a column of the table as bit vectors (Hyyrö 2003) in Python's integers, and only
  every √n-th of them, so that 20,000 tokens need a few megabytes. It knows Kaldi's rule only, which therefore also
  decides pairs that are too long for a table (``LONGEST_TABLE``), whatever rule was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance.Levenshtein import distance

SHORT_TOKENS = 160
"""Above this length the bit-vector engine is faster for a pair than the table (measured)."""

CHUNK_CELLS = 1 << 14
"""Cells per anti-diagonal of a chunk: three of them and the codes stay in the cache."""

FEW_PAIRS = 16
"""With fewer pairs than this a table spends its time on calls, not on cells."""

LONGEST_TABLE = 4000
"""Tokens above which every rule but Kaldi's would need a table of more than 30 MB; Kaldi's alignment is taken then."""

NUM_LETTERS = 4
"""C, S, I, D. Costs in a table are multiplied by it; the remainder tells the letters apart that lead to a cell."""


@dataclass(frozen=True)
class Rule:
    """Edit costs, and which letter wins a tie, seen from the end (the first in ``order``)."""

    substitution: int
    gap: int
    order: bytes

    def step(self, letter: bytes) -> int:
        """4 · cost of a step + rank of its letter, so that the least of several is the cheapest, and wins the tie."""
        cost = {b"C": 0, b"S": self.substitution}.get(letter, self.gap)
        return NUM_LETTERS * cost + self.order.index(letter)


KALDI = Rule(substitution=1, gap=1, order=b"IDSC")
SCLITE = Rule(substitution=4, gap=3, order=b"CSID")
"""NIST's sclite: its default weights, and the choice that reproduces its alignments."""

FIRST_WORD_CODE = 0x40000
"""Words get code points from here on; no script lives there, so characters below stand for themselves."""


class TokenEncoder(dict[str, str]):
    """Maps each token to one character, so that a token sequence becomes a string that C++ code compares fast."""

    def __missing__(self, token: str) -> str:
        if len(token) == 1 and ord(token) < FIRST_WORD_CODE:
            code = token
        else:
            code = chr(FIRST_WORD_CODE + len(self))
        self[token] = code
        return code

    def encode_pair(self, ref: Sequence[str], hyp: Sequence[str]) -> tuple[str, str]:
        """Two token sequences as strings; codes are comparable within one pair only."""
        if isinstance(ref, str) and isinstance(hyp, str):
            return ref, hyp
        if len(self) + len(ref) + len(hyp) > 0x10FFFF - FIRST_WORD_CODE:
            self.clear()
        return "".join(map(self.__getitem__, ref)), "".join(map(self.__getitem__, hyp))


def total_errors(refs: Sequence[str], hyps: Sequence[str]) -> np.ndarray:
    """Edit distance of every pair, (N,) int64."""
    return np.fromiter(map(distance, refs, hyps), dtype=np.int64, count=len(refs))


def count_edits(refs: Sequence[str], hyps: Sequence[str]) -> np.ndarray:
    """Correct, substituted, inserted and deleted tokens of every pair, (N, 4) int64.

    Insertions minus deletions is the difference of the lengths, so the total leaves one unknown. Where it exceeds that
    difference by less than 2, nothing is left to choose; only the other pairs are aligned.
    """
    errors = total_errors(refs, hyps)
    ref_lens = np.fromiter(map(len, refs), dtype=np.int64, count=len(refs))
    hyp_lens = np.fromiter(map(len, hyps), dtype=np.int64, count=len(hyps))
    substitutions = errors - np.abs(hyp_lens - ref_lens)
    for indices, ops in _aligned_chunks(refs, hyps, np.flatnonzero(substitutions > 1), KALDI):
        substitutions[indices] = (ops == ord("S")).sum(axis=1)
    insertions = (errors - substitutions + hyp_lens - ref_lens) // 2
    deletions = insertions + ref_lens - hyp_lens
    return np.stack([ref_lens - substitutions - deletions, substitutions, insertions, deletions], axis=1)


def edit_ops(refs: Sequence[str], hyps: Sequence[str], rule: Rule = KALDI) -> list[bytes]:
    """The alignment of every pair as letters ``C S D I``, first token first."""
    correct = {length: b"C" * length for length in set(map(len, refs))}
    result = [correct[len(ref)] for ref in refs]
    different = np.array([i for i, (ref, hyp) in enumerate(zip(refs, hyps)) if ref != hyp], dtype=np.int64)
    for indices, ops in _aligned_chunks(refs, hyps, different, rule):
        width = ops.shape[1]
        letters = ops.tobytes()
        for row, index in enumerate(indices.tolist()):
            result[index] = letters[row * width : (row + 1) * width].lstrip(b"\0")
    return result


def align_tokens(ref: Sequence[str], hyp: Sequence[str], ops: bytes) -> Iterator[tuple[str, str | None, str | None]]:
    """Columns ``(letter, reference token, hypothesis token)`` of one pair; None stands for a gap."""
    ref_tokens, hyp_tokens = iter(ref), iter(hyp)
    for op in ops.decode():
        yield op, None if op == "I" else next(ref_tokens), None if op == "D" else next(hyp_tokens)


def _aligned_chunks(
    refs: Sequence[str], hyps: Sequence[str], indices: np.ndarray, rule: Rule
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of ``(indices (N,), letters (N, W) uint8)``; rows are filled up with zeros on the left."""
    lengths = np.array([max(len(refs[i]), len(hyps[i])) for i in indices.tolist()], dtype=np.int64)
    order = np.argsort(lengths, kind="stable")
    indices, lengths = indices[order], lengths[order]
    longest, fewest = (SHORT_TOKENS, FEW_PAIRS) if rule is KALDI else (LONGEST_TABLE, 1)
    first_long = int(np.searchsorted(lengths, longest, side="right"))
    start = 0
    while first_long - start >= fewest:
        stop = min(first_long, start + max(1, CHUNK_CELLS // (int(lengths[start]) + 1)))
        # The last pair is the longest, and it sets the size of the table.
        stop = min(stop, start + max(1, CHUNK_CELLS // (int(lengths[stop - 1]) + 1)))
        chunk = indices[start:stop].tolist()
        yield indices[start:stop], _align_short([refs[i] for i in chunk], [hyps[i] for i in chunk], rule)
        start = stop
    for index in indices[start:].tolist():
        letters = _align_long(refs[index], hyps[index])
        yield np.array([index]), np.frombuffer(letters, dtype=np.uint8)[None, :]


def _align_short(refs: list[str], hyps: list[str], rule: Rule) -> np.ndarray:
    """Letters (N, W) of N pairs, whose tables are filled side by side."""
    ref_codes, ref_lens = _code_matrix(refs)
    hyp_codes, hyp_lens = _code_matrix(hyps)
    return _trace_back(_fill_table(ref_codes, hyp_codes, rule), ref_lens, hyp_lens, rule)


def _code_matrix(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Code points (U, N) uint32, zeros past each text, and lengths (N,)."""
    lens = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    codes = np.zeros((len(texts), int(lens.max())), dtype=np.uint32)
    flat = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    codes[np.arange(codes.shape[1]) < lens[:, None]] = flat
    return np.ascontiguousarray(codes.T), lens


def _fill_table(ref_codes: np.ndarray, hyp_codes: np.ndarray, rule: Rule) -> np.ndarray:
    """By which letter each cell (r, h) of each pair is reached: its rank in the rule, at [r + h, r, pair].

    The cells of an anti-diagonal d = r + h do not depend on each other: those that an I or a D comes from are on the
    anti-diagonal before it, and those of a C or an S on the one before that. Each is held as a row of its r, along
    which h = d - r falls; with the hypotheses reversed, the tokens of both sides are slices.

    While its neighbors are compared, a cell holds the sum of their cost and ``Rule.step``. With the order ``IDSC`` and
    a gap that costs 3, a cell reached from cost 5 by an insertion holds 4 · 8 + 0 = 32, by a deletion 4 · 8 + 1 = 33;
    the minimum is the insertion. Then its rank (33 % 4 = 1) goes into the result, and 4 · 8 stays.
    """
    (R, N), H = ref_codes.shape, len(hyp_codes)
    reversed_hyps = hyp_codes[::-1]
    cost_type = np.int16 if NUM_LETTERS * rule.gap * (R + H + 2) < 1 << 15 else np.int32
    insertion, deletion, substitution, correct = (cost_type(rule.step(letter)) for letter in (b"I", b"D", b"S", b"C"))
    rank_bits = cost_type(NUM_LETTERS - 1)
    ranks = np.empty((R + H + 1, R + 1, N), dtype=np.uint8)
    two_before, before, now = (np.zeros((R + 1, N), dtype=cost_type) for _ in range(3))  # anti-diagonals
    for d in range(1, R + H + 1):
        first, last = max(1, d - H), min(R, d - 1)  # the r of the cells off the edges
        if first <= last:
            here, above = slice(first, last + 1), slice(first - 1, last)
            cells = now[here]
            is_equal = ref_codes[above] == reversed_hyps[H - d + first : H - d + last + 1]
            # two_before + (correct where equal, substitution elsewhere), without a temporary array
            np.multiply(is_equal, correct - substitution, out=cells, dtype=cost_type)
            cells += two_before[above]
            cells += substitution
            np.minimum(cells, before[above] + deletion, out=cells)
            np.minimum(cells, before[here] + insertion, out=cells)
            np.bitwise_and(cells, rank_bits, out=ranks[d, here], casting="unsafe")
            cells &= ~rank_bits
        if d <= H:  # the edge r = 0: insertions only
            now[0], ranks[d, 0] = NUM_LETTERS * rule.gap * d, rule.order.index(b"I")
        if d <= R:  # the edge h = 0: deletions only
            now[d], ranks[d, d] = NUM_LETTERS * rule.gap * d, rule.order.index(b"D")
        two_before, before, now = before, now, two_before
    return ranks


def _trace_back(ranks: np.ndarray, ref_lens: np.ndarray, hyp_lens: np.ndarray, rule: Rule) -> np.ndarray:
    """Letters (N, W), right-aligned, on the ways of all pairs from their last cells to the corner."""
    order = np.frombuffer(rule.order, dtype=np.uint8)
    ref_steps = (order != ord("I")).astype(np.int64)  # by rank: how many tokens of the reference its letter takes
    steps = ref_steps + (order != ord("D"))
    width = int((ref_lens + hyp_lens).max())
    letters = np.zeros((width, len(ref_lens)), dtype=np.uint8)
    pairs = np.arange(len(ref_lens))
    r, d = ref_lens.copy(), ref_lens + hyp_lens  # the cell that each pair is at
    for row in range(width - 1, -1, -1):
        if not d.all():  # some pairs are complete: continue with the others
            going = d > 0
            pairs, r, d = pairs[going], r[going], d[going]
            if not len(pairs):
                break
        rank = ranks[d, r, pairs]
        letters[row, pairs] = order[rank]
        r -= ref_steps[rank]
        d -= steps[rank]
    return np.ascontiguousarray(letters.T)


def _align_long(ref: str, hyp: str) -> bytes:
    """Letters of one pair by Kaldi's rule, on the way from the last cell of its table to the corner."""
    letters = bytearray()
    r, h = len(ref), len(hyp)  # the cell
    for insertions, deletions in _columns_backward(ref, hyp):
        while r and not _bit(insertions, r - 1) and _bit(deletions, r - 1):
            letters += b"D"
            r -= 1
        h -= 1
        if r == 0 or _bit(insertions, r - 1):
            letters += b"I"
        else:
            r -= 1
            letters += b"C" if ref[r] == hyp[h] else b"S"
    letters += b"D" * r
    return bytes(reversed(letters))


def _bit(bits: bytes, position: int) -> int:
    return bits[position >> 3] >> (position & 7) & 1


def _columns_backward(ref: str, hyp: str) -> Iterator[tuple[bytes, bytes]]:
    """Of the columns H, H - 1, ..., 1 of a table: bits of the rows whose cost an I explains, and of those a D explains.

    A first pass keeps the column in front of each block of √H columns. From there the columns of a block are computed
    again when it is their turn, so that two times √H columns are held, not H.
    """
    matches = _positions(ref, set(hyp))
    all_rows = (1 << len(ref)) - 1
    column = (0, all_rows, 0)  # column 0: each row costs one more than the row above
    starts = range(0, len(hyp), block := math.isqrt(len(hyp)) + 1)
    kept = []
    for start in starts:
        kept.append(column)
        *_, column = _columns(matches, all_rows, column, hyp[start : start + block])
    size = len(ref) // 8 + 1
    for start in reversed(starts):
        for rises_across, rises, _ in reversed([*_columns(matches, all_rows, kept.pop(), hyp[start : start + block])]):
            # As bytes, so that looking at one bit of a long column does not cost a copy of it.
            yield rises_across.to_bytes(size, "little"), rises.to_bytes(size, "little")


def _positions(text: str, tokens: set[str]) -> dict[str, int]:
    """Per token the bit vector of its positions in ``text``."""
    bits: dict[str, bytearray] = {token: bytearray(len(text) // 8 + 1) for token in tokens & set(text)}
    for position, token in enumerate(text):
        if token in bits:
            bits[token][position >> 3] |= 1 << (position & 7)
    return {token: int.from_bytes(vector, "little") for token, vector in bits.items()}


def _columns(
    matches: dict[str, int], all_rows: int, column: tuple[int, int, int], tokens: str
) -> Iterator[tuple[int, int, int]]:
    """The columns of ``tokens`` of the hypothesis after ``column``, each as ``(rises_across, rises, falls)``.

    Costs of neighboring cells differ by -1, 0 or 1, so bit vectors hold them; bit r - 1 is about row r:

        rises_across, falls_across    the cost is that of the column before + 1, - 1
        rises, falls                  the cost is that of the row above + 1, - 1
        is_free                       the cost is that of the row above in the column before

    A cell is free by a match, by a cost that falls in the column before, or by one that falls across in the row above.
    For the last of these the addition carries what is free down a run of rising costs.

    Source: H. Hyyrö, A Bit-Vector Algorithm for Computing Levenshtein and Damerau Edit Distances, Nordic Journal of
    Computing 10 (2003), after G. Myers, Journal of the ACM 46 (1999). There these are HP, HN, VP, VN and D0.
    """
    _, rises, falls = column
    for token in tokens:
        match = matches.get(token, 0)
        is_free = ((((match & rises) + rises) ^ rises) | match | falls) & all_rows
        rises_across = falls | (all_rows ^ (is_free | rises))
        falls_across = is_free & rises
        # The same of the row above; row 0 rises by one in every column.
        above_rises, above_falls = (rises_across << 1 | 1) & all_rows, falls_across << 1
        rises = (above_falls | (all_rows ^ (is_free | above_rises))) & all_rows
        falls = above_rises & is_free
        yield rises_across, rises, falls
