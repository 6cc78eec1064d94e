"""The judgement of IT power meters against a second writing of it, and at its edges; without a plant, so in any writing of numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import TWO_HALLS
from test_shield import estimate
from weighed import Weighed

from coolctl.control.estimate import Estimate
from coolctl.control.heat import HeatWitness
from coolctl.points import Snapshot
from coolctl.site import Site, load_site
from coolctl.thermal.params import hall_array


class Meters:
    """What a hall's meter, thermometers and fans say, as it may be: it drifts, lies for a while, falls silent, comes back."""

    def __init__(self, site: Site, seed: int):
        self.site, self.rng, self.halls = site, np.random.default_rng(seed), hall_array(site)
        self.count = len(self.halls)
        self.load, self.lie, self.silent, self.back_c = 0.6, np.ones(self.count), "", 0.0

    def say(self, now_s: float) -> tuple[Estimate, Snapshot, np.ndarray, np.ndarray]:
        """The estimate and the snapshot, and in them the meters [W] and the return air [°C]."""
        rng, nom_w = self.rng, self.halls[:, 0]
        if rng.random() < 0.1:
            self.load, self.lie = rng.uniform(0.05, 1.3), rng.choice([1.0, 0.7, 0.55, 0.3, 0.05], self.count)
            self.silent, self.back_c = (
                str(rng.choice(["", "", "", "rat", "meter", "water", "fan", "sat"])),
                rng.choice([0.0, 3.0]),
            )
        true_w = self.load * nom_w * rng.uniform(0.97, 1.03, self.count)
        sat_c, fan = 22.0 + rng.normal(0.0, 0.1, self.count) + self.back_c, np.full(self.count, rng.uniform(0.3, 1.0))
        rat_c = sat_c + true_w / (fan * self.halls[:, 2] * 1006.0)
        metered_w = true_w * self.lie
        for name, values in (("rat", rat_c), ("meter", metered_w), ("fan", fan), ("sat", sat_c)):
            if self.silent == name:
                values[rng.integers(self.count)] = np.nan
        water_k = 6.0
        flow_kgs = np.nan if self.silent == "water" else float(true_w.sum()) * rng.choice([1.0, 0.6]) / (4186.0 * water_k)
        est = estimate(
            now_s, plant={"chw_flow": flow_kgs, "chwst": 12.0, "chwrt": 12.0 + water_k}, sat_c=sat_c, fan_speed=fan,
            inlet_mean_c=np.where(rng.random(self.count) < 0.1, np.nan, 23.0),
            w=np.concatenate([[18.0, 12.0, 88e3], metered_w]),
        )._replace(it_w=metered_w.copy())  # fmt: skip
        table = self.site.table
        value = np.full(len(table.points), np.nan)
        for h, hall in enumerate(self.site.halls):
            value[table.by_role("it_power", hall)] = metered_w[h] / len(table.by_role("it_power", hall))
            value[table.one("rat", hall)] = rat_c[h]
        return est, Snapshot(now_s, value, np.zeros(len(value)), np.zeros(len(value), dtype=np.int8)), metered_w, rat_c


def with_return_air(edited_site: Callable[..., Path]) -> Site:
    """The site of two halls, with thermometers in the return air."""
    sat = '[[points]]\nrole = "sat"\nmachine = "{0}"\nunit = "degF"\n'
    rat = sat.replace('"sat"', '"rat"')
    return load_site(edited_site(*((sat.format(h), sat.format(h) + rat.format(h)) for h in ("north", "south")), source=TWO_HALLS))


@pytest.mark.parametrize(("two", "seed"), [(False, 1), (False, 2), (True, 3)])
def test_the_judgement_is_the_one_that_is_described(site: Site, edited_site: Callable[..., Path], two: bool, seed: int) -> None:
    """Against a second writing of it: the same heat counts, the same meters are doubted, tick for tick."""
    meters = Meters(with_return_air(edited_site) if two else site, seed)
    ours, theirs = HeatWitness(meters.site.table, meters.site.halls, meters.halls), Weighed(meters.halls)
    now_s, seen = 0.0, set()
    for _ in range(700):
        est, snap, metered_w, rat_c = meters.say(now_s)
        ours.hear(snap)
        judged, told = ours.judge(est, snap), theirs.judge(est, metered_w, rat_c)
        assert judged.it_w == pytest.approx([it_w for it_w, _ in told], rel=1e-9, nan_ok=True)
        assert judged.w[3:] == pytest.approx([w for _, w in told], rel=1e-9, nan_ok=True)
        assert ours.air_w == pytest.approx([hall.air_w for hall in theirs.halls], rel=1e-9, abs=1e-3, nan_ok=True)
        assert ours.doubted.tolist() == [hall.doubted for hall in theirs.halls]
        seen |= {(hall.over, hall.doubted) for hall in theirs.halls}
        now_s += float(meters.rng.choice([1.0, 5.0, 5.0, 30.0, 90.0, -3.0]))
    assert len(seen) == 4, "not everything was met"
