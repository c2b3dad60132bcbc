"""Edit distance with Kaldi's choice among equally cheap alignments, for many pairs at once.

A pair is two strings, one character per token (``TokenEncoder`` maps words to characters). All edits cost 1. Among
cheapest alignments Kaldi's ``compute-wer`` (and SpeechIO's tool, and kaldialign) takes the one that, seen from the end,
prefers insertion to deletion to substitution; only then do S, D and I agree with theirs (the total is the same for
every choice).

Three engines, one result:

- totals: rapidfuzz (bit-parallel C++);
- pairs up to ``SHORT_TOKENS`` tokens: one NumPy table for a chunk of pairs,
  filled by anti-diagonals;
- longer pairs: Hyyrö's 2003 bit-vector recurrence on Python integers, which
  remembers every √n-th column only, so that 20,000 tokens need a few megabytes.
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

RANK_BITS = 3
"""Of a cell of the table: the rank of its last letter. The bits above them are its cost."""

LONGEST_TABLE = 4000
"""Tokens above which every rule but Kaldi's would need a table of more than 30 MB; Kaldi's alignment is taken then."""


@dataclass(frozen=True)
class Rule:
    """Edit costs, and which letter wins a tie, seen from the end (the first in ``order``)."""

    substitution: int
    gap: int
    order: bytes


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
        yield indices[start:stop], _align_table([refs[i] for i in chunk], [hyps[i] for i in chunk], rule)
        start = stop
    for index in indices[start:].tolist():
        letters = _align_long(refs[index], hyps[index])
        yield np.array([index]), np.frombuffer(letters, dtype=np.uint8)[None, :]


def _align_table(refs: list[str], hyps: list[str], rule: Rule) -> np.ndarray:
    """Letters (N, W) of N pairs from one table over (anti-diagonal, reference position, pair).

    Cell (r, h) is about the first r tokens of the reference and the first h of the hypothesis. Its diagonal neighbor
    (r - 1, h - 1) is two anti-diagonals back, the others one, so all cells of an anti-diagonal d = r + h are computed
    at once. Along it h falls as r rises; with the hypotheses reversed, both sides are slices.

    A cell holds 4 · cost + the rank of its last letter in the rule's order, so that a minimum also settles ties. With
    the order ``IDSC`` and a gap that costs 3, a cell reached from cost 5 by an insertion holds 4 · 8 + 0 = 32, by a
    deletion 4 · 8 + 1 = 33: the minimum is the insertion. ``RANK_BITS`` take its rank out of it, the others its cost.
    """
    ref_codes, ref_lens = _code_matrix(refs)
    hyp_codes, hyp_lens = _code_matrix(hyps)
    reversed_hyps = hyp_codes[::-1]
    R, H, N = len(ref_codes), len(hyp_codes), len(refs)
    cost_type = np.int16 if 4 * rule.gap * (R + H + 2) < 1 << 15 else np.int32
    rank = {letter: rule.order.index(letter) for letter in b"IDSC"}
    insertion, deletion = (cost_type(4 * rule.gap + rank[letter]) for letter in b"ID")
    substitution, correct = cost_type(4 * rule.substitution + rank[ord("S")]), rank[ord("C")]
    rank_of_last = np.empty((R + H + 1, R + 1, N), dtype=np.uint8)
    two_back, one_back, now = (np.zeros((R + 1, N), dtype=cost_type) for _ in range(3))  # anti-diagonals, by r
    for d in range(1, R + H + 1):
        first, last = max(1, d - H), min(R, d - 1)  # the r of the cells that have all three neighbors
        if first <= last:
            here, above = slice(first, last + 1), slice(first - 1, last)
            cells = now[here]
            is_equal = ref_codes[above] == reversed_hyps[H - d + first : H - d + last + 1]
            # two_back + (correct where equal, substitution elsewhere), without a temporary array
            np.multiply(is_equal, correct - substitution, out=cells, dtype=cost_type)
            cells += two_back[above]
            cells += substitution
            np.minimum(cells, one_back[above] + deletion, out=cells)
            np.minimum(cells, one_back[here] + insertion, out=cells)
            np.bitwise_and(cells, RANK_BITS, out=rank_of_last[d, here], casting="unsafe")
            cells &= ~RANK_BITS
        if d <= H:  # the edge r = 0: insertions only
            now[0], rank_of_last[d, 0] = 4 * rule.gap * d, rank[ord("I")]
        if d <= R:  # the edge h = 0: deletions only
            now[d], rank_of_last[d, d] = 4 * rule.gap * d, rank[ord("D")]
        two_back, one_back, now = one_back, now, two_back
    return _trace_back(rank_of_last, ref_lens, hyp_lens, rule)


def _trace_back(rank_of_last: np.ndarray, ref_lens: np.ndarray, hyp_lens: np.ndarray, rule: Rule) -> np.ndarray:
    """Letters (N, W), right-aligned, of all pairs of a table, from its ends to its origin."""
    order = np.frombuffer(rule.order, dtype=np.uint8)
    ref_steps = (order != ord("I")).astype(np.int64)
    diagonal_steps = ref_steps + (order != ord("D"))
    width = int((ref_lens + hyp_lens).max())
    letters = np.zeros((width, len(ref_lens)), dtype=np.uint8)
    pairs = np.arange(len(ref_lens))
    r, d = ref_lens.copy(), ref_lens + hyp_lens
    for row in range(width - 1, -1, -1):
        if not d.all():  # some pairs are complete: continue with the others
            going = d > 0
            pairs, r, d = pairs[going], r[going], d[going]
            if not len(pairs):
                break
        rank = rank_of_last[d, r, pairs]
        letters[row, pairs] = order[rank]
        r -= ref_steps[rank]
        d -= diagonal_steps[rank]
    return np.ascontiguousarray(letters.T)


def _code_matrix(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Code points (U, N) uint32, zeros past each text, and lengths (N,)."""
    lens = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    codes = np.zeros((len(texts), int(lens.max())), dtype=np.uint32)
    flat = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    codes[np.arange(codes.shape[1]) < lens[:, None]] = flat
    return np.ascontiguousarray(codes.T), lens


def _align_long(ref: str, hyp: str) -> bytes:
    """Letters of one pair by bit vectors: one bit per reference token, one column per hypothesis token.

    The first pass keeps the column in front of every block of √H columns; the way back recomputes the columns of one
    block at a time, the last one first.
    """
    if not ref or not hyp:
        return b"I" * len(hyp) + b"D" * len(ref)
    matches = _positions(ref, set(hyp))
    ones = (1 << len(ref)) - 1
    block = math.isqrt(len(hyp)) + 1
    column = (ones, 0)  # in front of the first token costs rise by one per reference token
    block_starts = []
    for start in range(0, len(hyp), block):
        block_starts.append(column)
        *_, (_, column) = _columns(matches, ones, column, hyp[start : start + block])
    letters = bytearray()
    r, h = len(ref), len(hyp)  # the cell of the table that the way back is at
    while block_starts:
        start = block * (len(block_starts) - 1)
        columns = [(across, down) for across, (down, _) in _columns(matches, ones, block_starts.pop(), hyp[start:h])]
        while h > start:
            # As bytes, so that looking at one bit of a long column does not cost a copy of it.
            rises_across, rises = (bits.to_bytes(len(ref) // 8 + 1, "little") for bits in columns[h - 1 - start])
            while r and not _bit(rises_across, r - 1) and _bit(rises, r - 1):
                letters += b"D"  # the cost comes from above, and no insertion, which has precedence, explains it
                r -= 1
            h -= 1
            if r == 0 or _bit(rises_across, r - 1):
                letters += b"I"
            else:
                r -= 1
                letters += b"C" if ref[r] == hyp[h] else b"S"
    letters += b"D" * r
    return bytes(reversed(letters))


def _bit(bits: bytes, position: int) -> int:
    return bits[position >> 3] >> (position & 7) & 1


def _positions(text: str, tokens: set[str]) -> dict[str, int]:
    """Per token the bit vector of its positions in ``text``."""
    bits: dict[str, bytearray] = {token: bytearray(len(text) // 8 + 1) for token in tokens & set(text)}
    for position, token in enumerate(text):
        if token in bits:
            bits[token][position >> 3] |= 1 << (position & 7)
    return {token: int.from_bytes(vector, "little") for token, vector in bits.items()}


def _columns(
    matches: dict[str, int], ones: int, column: tuple[int, int], tokens: str
) -> Iterator[tuple[int, tuple[int, int]]]:
    """Per hypothesis token: where costs rise across from the column before, and its own ``(rises, falls)``.

    Neighboring costs differ by -1, 0 or 1, so bit vectors hold them, with a bit for each reference token, in its row:

        rises, falls                  the cost is that of the row above + 1, - 1
        rises_across, falls_across    the cost is that of the column before + 1, - 1
        is_free                       the cost is that of the row above in the column before

    The addition carries ``is_free`` from a match down a run of rising costs. Source: Myers 1999; Hyyro 2003, where
    these are VP, VN, HP, HN and D0.
    """
    rises, falls = column
    for token in tokens:
        match = matches.get(token, 0)
        is_free = ((((match & rises) + rises) ^ rises) | match | falls) & ones
        rises_across = falls | (ones ^ (is_free | rises))
        falls_across = is_free & rises
        # The same of the row above; row 0, of no reference token, rises by one in every column.
        above_rises, above_falls = (rises_across << 1 | 1) & ones, falls_across << 1
        rises = (above_falls | (ones ^ (is_free | above_rises))) & ones
        falls = above_rises & is_free
        yield rises_across, (rises, falls)
