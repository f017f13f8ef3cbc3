"""Rank correlations of codes: Spearman's with midranks and Kendall's tau-b, of rows, of tables and of many small groups. Pure.

Written here because they are computed a hundred times for one interval: on codes that are ranked once, a value costs no
sorting, and a table of counts stands for all rows with the same two scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evalh.stats.intervals import FloatArray
from evalh.stats.resampling import IntArray

_SMALL_GROUP = 64  # rows of a group whose pairs are written out


class Ranked(NamedTuple):
    """Two columns as codes in the order of their values: x in 0..n_x-1, y in 0..n_y-1."""

    x: IntArray
    y: IntArray
    n_x: int
    n_y: int

    @property
    def cells(self) -> int:
        return self.n_x * self.n_y

    def take(self, rows: IntArray) -> Ranked:
        return self._replace(x=self.x[rows], y=self.y[rows])


def ranked(x: FloatArray, y: FloatArray) -> Ranked:
    """The codes of two columns (n,)."""
    (of_x, x_codes), (of_y, y_codes) = (np.unique(values, return_inverse=True) for values in (x, y))
    return Ranked(x_codes.astype(np.int64), y_codes.astype(np.int64), len(of_x), len(of_y))


def spearman_of(pairs: Ranked) -> float:
    """Spearman's correlation: Pearson's of the midranks. NaN where a column is constant."""
    x, y = (_midranks(np.bincount(codes, minlength=1).astype(np.float64))[codes] for codes in (pairs.x, pairs.y))
    spread = float((x * x).sum()) * float((y * y).sum())  # not @: threads of the linear algebra cost more than they save here
    return float((x * y).sum()) / spread**0.5 if spread > 0 else float("nan")


def _midranks(counts: FloatArray) -> FloatArray:
    """The midrank of each code, less the mean rank, from how often the codes occur (..., K)."""
    return np.asarray(np.cumsum(counts, -1) - (counts + counts.sum(-1, keepdims=True)) / 2)


def tau_of(pairs: Ranked) -> float:
    """Kendall's tau-b of rows in the order of (x, y). NaN where a column is constant."""
    n = len(pairs.x)
    every = n * (n - 1) // 2
    ties_x, ties_y = _tied(np.bincount(pairs.x, minlength=1)), _tied(np.bincount(pairs.y, minlength=1))
    new = np.flatnonzero(np.append(True, (np.diff(pairs.x) != 0) | (np.diff(pairs.y) != 0)))
    ties_both = _tied(np.diff(np.append(new, n)))
    if every in (ties_x, ties_y):
        return float("nan")
    lead = every - ties_x - ties_y + ties_both - 2 * inversions(pairs.y, pairs.n_y)
    return float(lead / (float(every - ties_x) * float(every - ties_y)) ** 0.5)


def _tied(counts: IntArray) -> int:
    """The number of pairs of equal rows, from how often each value occurs."""
    return int((counts.astype(np.int64) * (counts.astype(np.int64) - 1)).sum()) // 2


def inversions(codes: IntArray, kinds: int) -> int:
    """How many pairs of codes (n,) in 0..kinds-1 stand with the larger one first.

    Bit by bit from the highest: among codes that agree so far, a 1 before a 0 is an inversion; then each such set is
    parted into its 0s and 1s, in order. One pass over the codes for each bit.
    """
    found, codes = 0, np.asarray(codes, dtype=np.int64)
    for bit in range(max(kinds - 1, 1).bit_length() - 1, -1, -1):
        ones = (codes >> bit) & 1
        prefix = codes >> (bit + 1)
        before = np.cumsum(ones) - ones
        start = np.flatnonzero(np.append(True, np.diff(prefix) != 0)[: len(codes)])
        group = np.repeat(np.arange(len(start)), np.diff(np.append(start, len(codes))))
        found += int(((before - before[start][group]) * (1 - ones)).sum())
        codes = codes[np.argsort(codes >> bit, kind="stable")]
    return found


# ---- of tables ------------------------------------------------------------------------------------------------------


def spearman_of_tables(tables: FloatArray, *, shape: tuple[int, int]) -> FloatArray:
    """Spearman's correlation of tables of counts (B, n_x * n_y): (B,), NaN where a column is constant."""
    cells = tables.reshape(len(tables), *shape)
    rows, columns = cells.sum(2), cells.sum(1)
    x, y = _midranks(rows), _midranks(columns)
    together = ((cells @ y[:, :, None])[:, :, 0] * x).sum(1)
    spread = (rows * x * x).sum(1) * (columns * y * y).sum(1)
    return np.where(spread > 0, together / np.sqrt(np.where(spread > 0, spread, 1)), np.nan)


def tau_of_tables(tables: FloatArray, *, shape: tuple[int, int]) -> FloatArray:
    """Kendall's tau-b of tables of counts (B, n_x * n_y): (B,), NaN where a column is constant."""
    cells = tables.reshape(len(tables), *shape)
    n = tables.sum(1)
    upto = np.cumsum(np.cumsum(cells, 1), 2)
    before = np.zeros_like(cells)
    before[:, 1:, 1:] = upto[:, :-1, :-1]
    up_in_y = np.cumsum(cells.sum(1), 1)
    later = np.zeros_like(cells)  # with a smaller x and a larger y
    later[:, 1:, :] = np.cumsum(cells, 1)[:, :-1, :].sum(2, keepdims=True) - upto[:, :-1, :]
    lead = (cells * (before - later)).sum((1, 2))
    pairs = n * (n - 1) / 2
    free_x, free_y = (pairs - (side * (side - 1)).sum(1) / 2 for side in (cells.sum(2), np.diff(up_in_y, axis=1, prepend=0)))
    spread = free_x * free_y
    return np.where(spread > 0, lead / np.sqrt(np.where(spread > 0, spread, 1)), np.nan)


# ---- of many groups -------------------------------------------------------------------------------------------------


def tau_of_groups(x: FloatArray, y: FloatArray, groups: IntArray) -> FloatArray:
    """Kendall's tau-b in each group of rows, in the order of the groups' codes: (G,), NaN where a side is constant."""
    order = np.argsort(groups, kind="stable")
    x, y = x[order], y[order]
    _, start, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    found = np.full(len(start), np.nan)
    for size in np.unique(sizes):
        which = np.flatnonzero(sizes == size)
        if size > _SMALL_GROUP:
            for group in which:
                rows = slice(start[group], start[group] + size)
                pairs = ranked(x[rows], y[rows])
                found[group] = tau_of(pairs.take(np.lexsort((pairs.y, pairs.x))))
            continue
        for part in np.array_split(which, 1 + len(which) * int(size) ** 2 // 4_000_000):
            at = start[part][:, None] + np.arange(size)
            ways = [np.sign(side[at][:, :, None] - side[at][:, None, :]) for side in (x, y)]
            spread = (ways[0] != 0).sum((1, 2)) * (ways[1] != 0).sum((1, 2))
            lead = (ways[0] * ways[1]).sum((1, 2))
            found[part] = np.where(spread > 0, lead / np.sqrt(np.where(spread > 0, spread, 1)), np.nan)
    return found
