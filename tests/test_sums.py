"""Sums inside kernels: numpy's to the last bit, whatever the number of terms."""

from __future__ import annotations

import numpy as np
import pytest

from coolctl.control.sums import BLOCK, Groups, pairwise_sum, sum_of_group

EDGES = (0, 1, 7, 8, 9, 15, 16, 17, BLOCK - 1, BLOCK, BLOCK + 1, 255, 256, 257, 1000, 5003)


@pytest.mark.parametrize("count", EDGES)
def test_sum_is_numpys_to_the_last_bit(count: int) -> None:
    rng = np.random.default_rng(count)
    plain = getattr(pairwise_sum, "py_func", pairwise_sum)
    for _ in range(20):
        x = rng.normal(size=count + 5) * 10.0 ** rng.uniform(-3.0, 6.0, count + 5)
        expected = float(x[3 : count + 3].sum())
        assert pairwise_sum(x[3 : count + 3]) == expected == plain(x[3 : count + 3])


def test_order_matters_or_this_would_prove_nothing() -> None:
    x = np.random.default_rng(1).normal(size=1000)
    loop = 0.0
    for value in x.tolist():
        loop += value
    assert loop != x.sum()


def test_group_that_is_empty_or_not_wholly_known_has_no_sum() -> None:
    groups = Groups([np.array([2, 0]), np.zeros(0, dtype=np.int64), np.array([1])])
    value, scratch = np.array([1.0, np.nan, 4.0]), np.zeros(3)
    sums = [sum_of_group(value, groups.at[groups.start[g] : groups.start[g + 1]], scratch) for g in range(3)]
    assert sums[0] == 5.0 and np.isnan(sums[1:]).all()
