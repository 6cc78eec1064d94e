"""IT power against the heat that the hall's air carries, and that against the chilled water: a meter that reads far too little.

Airflow follows IT power, so that a meter which sticks low takes the air away from servers at work. Their heat cannot hide:
the air carries it, airflow times the rise from supply to return air, less what the racks' masses give off while they cool; a
little later the water does. A meter is doubted where the air carries far more for a while and the water agrees; then the
larger, plausible heat counts. A load that has just fallen is no lie: what a meter said is forgotten slowly. A meter that reads
too much costs energy, never safety, and is believed. Where no meter speaks, air and water together stand in for it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate, pick
from coolctl.control.sums import Groups, sum_of_group
from coolctl.jit import kernel
from coolctl.num import first_order
from coolctl.points import PointTable, Snapshot
from coolctl.psychro import CP_AIR_JKGK, CP_WATER_JKGK
from coolctl.thermal import room
from coolctl.thermal.air import crah_air_kgs
from coolctl.thermal.dynamics import AIR_JK_PER_W, HEATSINK_JK_PER_W, RACK_JK_PER_W
from coolctl.thermal.plant import W_HALL, W_PRESSURE
from coolctl.thermal.room import HallParams

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
BOOLS = NDArray[np.bool_]

RACK_TAU_S = 300.0  # sheet metal behind the air that passes it
GIVEN_OFF, TAKEN_UP = 1.3, 0.7  # shares of the masses' heat that are counted: against the doubt both ways
FORGOTTEN_TAU_S, AIR_TAU_S, WATER_TAU_S, RATE_TAU_S, LONG_TAU_S = 45.0, 10.0, 30.0, 15.0, 1800.0
# Airflow off by a tenth and half a kelvin on both thermometers make a quarter; CRAHs that are dead make the air look stronger
# by as much as the running ones are fewer, which is why the water is asked. The slack is for loads near nothing.
OVER_RATIO, CLEAR_RATIO, PLAIN_RATIO, SLACK = 1.6, 1.25, 2.5, 0.03
OVER_S, PLAIN_S, WELL_S = 30.0, 10.0, 600.0
# A hall that has been hot and gets its cold air back gives off more than the masses' model knows: no new doubt meanwhile.
FALLING_K, STEADY_K, FALLING_TAU_S = 1.5, 0.3, 60.0
AGREED_RATIO = 1.5  # water over air, in the mean of half an hour: condensate, fans and masses are in it
WATER_SHARE = 0.5  # of the missing heat must be in the water too, where that is measured
COUNTED_RATIO, MOST_RATIO = 1.25, 1.2  # of the heat in the air, and of the design load: it is still rising when it is seen


@kernel
def follow_heat(
    metered_w: F64, sat_c: F64, rat_c: F64, fan: F64, pressure_pa: float, halls: F64, dt_s: float, mass_c: F64, slow_c: F64,
    said_w: F64, air_w: F64,
) -> None:  # fmt: skip
    """Per hall what the meter has said lately into `said_w` [W], and the servers' heat by the air into `air_w` [W].

    `Q = m c_p (RAT - SAT) - C (T_mass - T_mid) / tau + C_fast dRAT/dt`; NaN where airflow or a temperature is not known. `mass_c`
    [°C] holds the masses' temperature from call to call, `slow_c` [°C] the return air's a moment ago.
    """
    for h in range(halls.shape[0]):
        hall = room.hall_params(halls[h])
        if metered_w[h] == metered_w[h]:
            faded_w = first_order(said_w[h], metered_w[h], FORGOTTEN_TAU_S, dt_s)
            said_w[h] = max(faded_w, metered_w[h])
        air_kgs = crah_air_kgs(fan[h], sat_c[h], pressure_pa, hall)
        rise_k = rat_c[h] - sat_c[h]
        if not (rise_k == rise_k and air_kgs == air_kgs):
            air_w[h] = mass_c[h] = slow_c[h] = np.nan
            continue
        middle_c = sat_c[h] + 0.5 * rise_k
        mass_c[h] = first_order(mass_c[h], middle_c, RACK_TAU_S, dt_s)
        given_w = RACK_JK_PER_W * hall.it_power_nom_w / RACK_TAU_S * (mass_c[h] - middle_c)
        given_w *= GIVEN_OFF if given_w > 0.0 else TAKEN_UP
        slow_c[h] = first_order(slow_c[h], rat_c[h], RATE_TAU_S, dt_s)
        stored_w = (HEATSINK_JK_PER_W + AIR_JK_PER_W) * hall.it_power_nom_w * (rat_c[h] - slow_c[h]) / max(RATE_TAU_S, dt_s)
        heat_w = max(air_kgs * CP_AIR_JKGK * rise_k - given_w + stored_w - hall.misc_heat_w, 0.0)
        air_w[h] = first_order(air_w[h], heat_w, AIR_TAU_S, dt_s)


@kernel
def weigh_heat(
    air_w: F64, said_w: F64, nom_w: F64, sat_c: F64, water_w: float, dt_s: float, slow_sat_c: F64, over_s: F64, well_s: F64,
    over: BOOLS, doubted: BOOLS,
) -> bool:  # fmt: skip
    """Per hall whether the air carries far more than the meter says: `over` now, `doubted` for long enough, until it was
    well for long enough. `over_s`, `well_s` [s] and `slow_sat_c` [°C] are held from call to call; NaN in `water_w`: not
    measured. Returns whether any hall is either."""
    all_said_w, missing_w = 0.0, 0.0
    for h in range(len(air_w)):
        if said_w[h] == said_w[h]:
            all_said_w += said_w[h]
        if air_w[h] - said_w[h] > missing_w:
            missing_w = air_w[h] - said_w[h]
    agreed = not water_w < all_said_w + WATER_SHARE * missing_w
    found = False
    for h in range(len(air_w)):
        slow_sat_c[h] = first_order(slow_sat_c[h], sat_c[h], FALLING_TAU_S, dt_s)
        falling = sat_c[h] < slow_sat_c[h] - FALLING_K
        slack_w = SLACK * nom_w[h]
        plain = air_w[h] > PLAIN_RATIO * said_w[h] + slack_w
        over[h] = (plain or (agreed and air_w[h] > OVER_RATIO * said_w[h] + slack_w)) and not falling
        # The first look that is over begins the time; slow ticks need two.
        since_s = over_s[h] + dt_s if over_s[h] == over_s[h] else 0.0
        over_s[h] = since_s if over[h] else np.nan
        lasting = over_s[h] >= OVER_S or (plain and over_s[h] >= PLAIN_S)
        well_s[h] = well_s[h] + dt_s if air_w[h] < CLEAR_RATIO * said_w[h] + slack_w else 0.0
        doubted[h] = lasting or (doubted[h] and well_s[h] < WELL_S)
        found = found or over[h] or doubted[h]
    return found


@kernel
def judge_heat(
    raw: F64, value: F64, at: I64, start: I64, rat_at: I64, nom_w: F64, halls: F64, sat_c: F64, fan: F64, pressure_pa: float,
    water_w: float, slow_water_w: float, dt_s: float, scratch: F64, metered_w: F64, mass_c: F64, slow_c: F64, said_w: F64,
    air_w: F64, slow_sat_c: F64, over_s: F64, well_s: F64, over: BOOLS, doubted: BOOLS,
) -> tuple[bool, float]:  # fmt: skip
    """What the meters of every hall say, doubted or not, against air and water. Returns whether any hall is over or doubted,
    and the heat in the water [W], smoothed."""
    rat_c = np.empty(halls.shape[0])
    pick(value, rat_at, rat_c)
    for h in range(halls.shape[0]):
        metered_w[h] = sum_of_group(raw, at[start[h] : start[h + 1]], scratch)
    follow_heat(metered_w, sat_c, rat_c, fan, pressure_pa, halls, dt_s, mass_c, slow_c, said_w, air_w)
    slow_water_w = first_order(slow_water_w, water_w, WATER_TAU_S, dt_s)
    counted_w = math.nan if math.isnan(water_w) else slow_water_w
    any_over = weigh_heat(air_w, said_w, nom_w, sat_c, counted_w, dt_s, slow_sat_c, over_s, well_s, over, doubted)
    return any_over, slow_water_w


class HeatWitness:
    """Follows the halls of one site, each with its IT power points."""

    def __init__(self, table: PointTable, names: tuple[str, ...], halls: F64):
        self._halls = halls
        self._nom_w = halls[:, HallParams._fields.index("it_power_nom_w")].copy()  # a stride of its own is another signature
        self._meters = Groups([table.by_role("it_power", hall) for hall in names])
        self._rat = np.array([table.one("rat", hall) for hall in names], dtype=np.int64)
        count = len(names)
        self._mass_c, self._slow_c, self._said_w, self.air_w = (np.full(count, np.nan) for _ in range(4))
        self._water_w, self._metered_w, self._sat_c = np.nan, np.full(count, np.nan), np.full(count, np.nan)
        self._over_s, self._well_s = np.full(count, np.nan), np.zeros(count)
        self.doubted, self._over = np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
        self._raw, self._value, self._scratch = (np.full(len(table), np.nan) for _ in range(3))
        self._long_air_w = self._long_water_w = np.nan
        self._last_s, self._any = np.nan, False

    def hear(self, snap: Snapshot) -> None:
        """What the meters say in this tick, doubted or not."""
        self._raw[:] = snap.value

    def accused(self) -> list[I64]:
        """The points of each hall's meters that are doubted."""
        if not self._any:
            return []
        at, start = self._meters.at, self._meters.start
        return [at[start[h] : start[h + 1]] for h in np.flatnonzero(self.doubted)]

    def judge(self, est: Estimate, snap: Snapshot) -> Estimate:
        """Compare; the estimate with the larger, plausible heat where a meter is doubted."""
        since_s = est.now_s - self._last_s
        dt_s = min(max(since_s, 0.0), 60.0) if since_s == since_s else 0.0
        self._last_s = est.now_s
        plant = est.plant
        water_w = plant["chw_flow"] * CP_WATER_JKGK * (plant["chwrt"] - plant["chwst"])
        self._value[:] = snap.value
        self._any, self._water_w = judge_heat(
            self._raw, self._value, self._meters.at, self._meters.start, self._rat, self._nom_w, self._halls, est.sat_c,
            est.fan_speed, est.w[W_PRESSURE], water_w, self._water_w, dt_s, self._scratch, self._metered_w, self._mass_c,
            self._slow_c, self._said_w, self.air_w, self._sat_c, self._over_s, self._well_s, self._over, self.doubted,
        )  # fmt: skip
        all_air_w = float(self.air_w.sum())
        if np.abs(est.sat_c - self._sat_c).max() < STEADY_K:
            self._long_air_w = first_order(self._long_air_w, all_air_w, LONG_TAU_S, dt_s)
            self._long_water_w = first_order(self._long_water_w, water_w, LONG_TAU_S, dt_s)
        counted_w = self._of_the_silent(est) if est.substituted and all_air_w * water_w > 0.0 else {}
        # Before a meter is doubted, and called so, its heat counts already: the air would be gone by then.
        counted_w |= self._of_the_doubted() if self._any else {}
        return self._counted(est, counted_w) if counted_w else est

    def _of_the_silent(self, est: Estimate) -> dict[int, float]:
        """Halls without a meter that speaks [W]: what the air carries, where the water does not tell in the long run that it
        is far more: one witness alone is no ground to leave the design load. The water of this moment would not do: a hall that
        is being cooled gives off what its masses hold, and would be cooled the more for it."""
        if not self._long_water_w < AGREED_RATIO * self._long_air_w:
            return {}
        silent = [h for h in range(len(self._nom_w)) if f"it_power[{h}]" in est.substituted]
        return {h: min(COUNTED_RATIO * self.air_w[h], self._nom_w[h]) for h in silent}

    def _of_the_doubted(self) -> dict[int, float]:
        """The larger of what the meter says and what the air carries; the design load where the air is not known any more."""
        counted_w = {}
        for h in np.flatnonzero(self.doubted | self._over).tolist():
            carried_w = COUNTED_RATIO * self.air_w[h]
            most_w = np.fmax(self._metered_w[h], carried_w) if carried_w == carried_w else self._nom_w[h]
            counted_w[h] = min(most_w, MOST_RATIO * self._nom_w[h])
        return counted_w

    def _counted(self, est: Estimate, counted_w: dict[int, float]) -> Estimate:
        """`est` with these halls' IT power [W] and the base load that it stands for."""
        it_w, w = est.it_w.copy(), est.w.copy()
        for h, hall_w in counted_w.items():
            it_w[h] = hall_w
            hall, mean_c = HallParams(*self._halls[h].tolist()), est.inlet_mean_c[h]
            w[W_HALL + h] = max(room.it_base_w(it_w[h], mean_c if mean_c == mean_c else hall.server_fan_knee_c, hall), 1.0)
        return est._replace(it_w=it_w, w=w)
