"""Krippendorff's alpha from sums over units, so that it can be resampled by units. Pure.

alpha = 1 - observed / expected disagreement, over pairs of ratings of one unit and over all pairs of paired ratings
(Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011). A unit of m ratings gives its pairs the weight
1 / (m - 1). With d the squared difference of two numbers, both disagreements come from sums of ratings and their squares:

    interval   the numbers are the ratings
    ordinal    they are the ratings' midranks among all paired ratings: the sum of the margins between two ranks is their distance
    nominal    d is 0 or 1, and the disagreement of a unit comes from how often it has each value
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np

from evalh.records import Estimate
from evalh.stats.intervals import FloatArray
from evalh.stats.resampling import IntArray, block_jackknife, cluster_bootstrap, counts_by_cluster, sums_by_cluster

Metric = Literal["nominal", "ordinal", "interval"]
MOST_VALUES = 20  # different ratings on an ordinal scale whose coincidences are resampled; beyond, blocks are left out


def alpha(unit: IntArray, value: FloatArray, metric: Metric, clusters: IntArray | None, *, seed: int, level: float) -> Estimate:
    """Alpha of ratings (n,) of units (n,); see `evalh.stats.association.krippendorff_alpha`."""
    if len(unit) != len(value):
        raise ValueError(f"{len(unit)} units but {len(value)} ratings")
    names, first, place, sizes = np.unique(unit, return_index=True, return_inverse=True, return_counts=True)
    pairing = sizes[place] > 1
    n = int((sizes > 1).sum())
    if n == 0:
        return Estimate(value=None, level=level, n=0, why="no unit has two ratings")
    of_unit = (names if clusters is None else np.asarray(clusters)[first])[sizes > 1]
    units = np.unique(place[pairing], return_inverse=True)[1]
    values, codes = np.unique(value[pairing], return_inverse=True)
    if len(values) == 1:
        return Estimate(value=None, level=level, n=n, why="all ratings are the same: there is nothing to agree on beyond chance")
    kinds = len(values)
    if metric == "interval":
        scale = (values - values[0]) / (values[-1] - values[0])
        sums, figure = sums_by_cluster(_moments(units, scale[codes]), of_unit), _interval
    elif metric == "nominal":
        counts = counts_by_cluster(codes, kinds, units)
        sums, figure = sums_by_cluster(np.column_stack([_apart(counts), counts]), of_unit), _nominal
    elif kinds <= MOST_VALUES:
        sums = sums_by_cluster(_coincidences(counts_by_cluster(codes, kinds, units)), of_unit)
        figure = partial(_ordinal, kinds=kinds)
    else:
        ordered = np.argsort(units, kind="stable")
        units, codes = units[ordered], codes[ordered]

        def left(rows: IntArray) -> float:
            keep = np.isin(units, rows)
            ranks = _midranks(np.bincount(codes[keep], minlength=kinds).astype(np.float64)[None, :])[0]
            return float(_interval(_moments(units[keep], ranks[codes[keep]] / keep.sum()).sum(0)[None, :])[0])

        return block_jackknife(left, n, of_unit, level=level, bounds=None)
    return cluster_bootstrap(sums, figure, n=n, seed=seed, level=level)


def _moments(units: IntArray, numbers: FloatArray) -> FloatArray:
    """Of each unit: its ratings, their sum, the sum of squares, and the weighted disagreement of its pairs: (n units, 4)."""
    place = np.unique(units, return_inverse=True)[1]
    m, total, squares = (np.bincount(place, of).astype(np.float64) for of in (np.ones_like(numbers), numbers, numbers * numbers))
    return np.column_stack([m, total, squares, 2 * (m * squares - total * total) / (m - 1)])


def _interval(sums: FloatArray) -> FloatArray:
    m, total, squares, apart = sums.T
    by_chance = 2 * (m * squares - total * total) / (m - 1)
    flat = by_chance <= 1e-12 * m
    return np.where(flat, np.nan, 1 - apart / np.where(flat, 1.0, by_chance))


def _apart(counts: FloatArray) -> FloatArray:
    """The weighted number of different pairs of each unit, from how often it has each value (n units, K)."""
    m = counts.sum(1)
    return np.asarray((m * m - (counts * counts).sum(1)) / (m - 1))


def _nominal(sums: FloatArray) -> FloatArray:
    apart, margins = sums[:, 0], sums[:, 1:]
    m = margins.sum(1)
    by_chance = (m * m - (margins * margins).sum(1)) / (m - 1)
    flat = by_chance <= 1e-12 * m
    return np.where(flat, np.nan, 1 - apart / np.where(flat, 1.0, by_chance))


def _coincidences(counts: FloatArray) -> FloatArray:
    """The coincidences of each unit's values c < k, then how often it has each value: (n units, K (K - 1) / 2 + K)."""
    upper = np.triu_indices(counts.shape[1], 1)
    return np.column_stack([counts[:, upper[0]] * counts[:, upper[1]] / (counts.sum(1) - 1)[:, None], counts])


def _midranks(margins: FloatArray) -> FloatArray:
    return np.asarray(np.cumsum(margins, 1) - margins / 2)


def _ordinal(sums: FloatArray, *, kinds: int) -> FloatArray:
    """Alpha with squared distances of midranks, which are those of each resample's own margins."""
    together, margins = sums[:, :-kinds], sums[:, -kinds:]
    m, ranks = margins.sum(1), _midranks(margins)
    upper = np.triu_indices(kinds, 1)
    apart = 2 * (together * (ranks[:, upper[0]] - ranks[:, upper[1]]) ** 2).sum(1)
    total = (margins * ranks).sum(1)
    by_chance = 2 * (m * (margins * ranks * ranks).sum(1) - total * total) / (m - 1)
    flat = by_chance <= 1e-9 * m
    return np.where(flat, np.nan, 1 - apart / np.where(flat, 1.0, by_chance))
