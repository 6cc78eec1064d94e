"""Mutants that change nothing anyone could see, each with the reason: they count neither way (`make mutants`)."""

from __future__ import annotations

from typing import NamedTuple


class Equal(NamedTuple):
    """The line where the change begins, before and after, why no test can tell them apart, and in which function, where a line
    stands in several."""

    file: str
    before: str
    after: str
    why: str
    place: str = ""


G, L, J = "coolctl/gateway.py", "coolctl/lease.py", "coolctl/strict_json.py"
D, R, C = "coolctl/dialects/native.py", "coolctl/dialects/route.py", "coolctl/dialects/decoder.py"
M, S, P = "coolctl/control/mode.py", "coolctl/control/shield.py", "coolctl/proof.py"
RANGES = "coolctl/control/ranges.py"
F, H, X = "coolctl/control/foresight.py", "coolctl/control/heat.py", "coolctl/control/machines.py"

CLIP = "np.clip is min(max(a, low), high): which of the first two comes first is the same"
SIGN = "every entry of warm_sign is +1 or -1, never nought"
NO_LEASE = "read only while `applied` holds something, and the lease that fills it sets this too"
NO_HOLDER = "read only once there is a holder, and the grant that makes one sets this too"
FLOOR = "lets the check run once more, which then only lifts to the count of before: that is where the count is"
SEEN = "a seen count that is not known comes second in min() and so loses: running() answers the same either way"
BEFORE_PROOF = "read only in states that are entered by a line that sets it"
WIDE = "air_side leaves heat only where a coil has all the water there is, and its valve then reads 1"
NO_BMS = "read only once the BMS has said its clock, and the word that says it sets this too"
ALIKE = "two arrays that begin alike and hold only what the kernel put there"
PRESENT = "`present` is 0 or 1, by its record and by the site file"
FIRST = "in the first look nothing is held yet that time could change, and the clear time begins anew with every doubt"
PULL = "water more than 0.2 K too warm counts as heat not met in evaluate_plant, so the clause before has said no already"

EQUALS: tuple[Equal, ...] = (
    # gateway
    Equal(G, 'part = self.path.with_suffix(".part")', "part = self.path.with_suffix('.partX')", "the name of a file that is gone when the line below it has run"),
    Equal(G, "self.heard_s = -math.inf", "self.heard_s = math.inf", NO_HOLDER),
    Equal(G, "self.heard_s = -math.inf", "pass", NO_HOLDER),
    Equal(G, "self.seq = -1", "self.seq = -2", NO_HOLDER),
    Equal(G, "self.seq = -1", "self.seq = 1", NO_HOLDER),
    Equal(G, "self.lease_until_s = -math.inf", "self.lease_until_s = math.inf", NO_LEASE),
    Equal(G, "self._applied_s = -math.inf", "self._applied_s = math.inf", NO_LEASE),
    Equal(G, "self._applied_s = -math.inf", "pass", NO_LEASE),
    Equal(
        G,
        "site.table.points[i].id: site.table.points[i] for k, i in enumerate(site.u_point) if i >= 0 and site.accepted[k]",
        "site.table.points[i].id: site.table.points[i] for k, i in enumerate(site.u_point) if True and site.accepted[k]",
        "Site.accepted is true only where there is a point",
    ),
    Equal(
        G,
        "return self.now_s <= self.lease_until_s and bool(self.applied) and not self.hand",
        "return self.now_s <= self.lease_until_s and bool(self.applied) and True",
        "set_hand empties `applied`, and while it lasts _admit refuses whatever would fill it",
    ),
    Equal(G, "if not self.leased and self.applied:", "if not self.leased and True:", "forgetting what is forgotten already"),
    Equal(G, "self._bms_heard_s = -math.inf", "self._bms_heard_s = math.inf", NO_BMS),
    Equal(G, "self._bms_heard_s = -math.inf", "pass", NO_BMS),
    Equal(
        G,
        "if self._bms_tick.nonce and self._bms_heard_s == -math.inf:",
        "if True and self._bms_heard_s == -math.inf:",
        NO_BMS,
    ),
    # leases
    Equal(
        L,
        "if not (math.isfinite(value) and low <= value <= high):",
        "if not (True and low <= value <= high):",
        "both bounds are finite: neither an infinity nor NaN lies between them",
    ),
    # strict JSON
    Equal(
        J,
        'if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX and _depth(raw) > DEPTH_MAX:',
        'if raw.count(b"[") + raw.count(b"{") >= DEPTH_MAX and _depth(raw) > DEPTH_MAX:',
        "eight brackets are never nine deep; the count only spares the closer look",
    ),
    Equal(
        J,
        'if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX and _depth(raw) > DEPTH_MAX:',
        "if True and _depth(raw) > DEPTH_MAX:",
        "what is deeper than eight has more than eight brackets; the count only spares the closer look",
    ),
    # dialects
    Equal(R, "if i is None or before != names:", "if False or before != names:", "where nothing is remembered `before` is None, which no list of names equals"),
    Equal(
        R,
        "i = np.array([self.fields.get(name, -1) for name in names], dtype=np.int64)",
        "i = np.array([self.fields.get(name, -2) for name in names], dtype=np.int64)",
        "any position below nought means a name that is not known",
    ),
    Equal(
        D,
        "if len(wire) and np.abs(wire).max() <= INTEGER_MAX:",
        "if len(wire) and np.abs(wire).max() < INTEGER_MAX:",
        "a batch whose largest value is the very limit goes the slower way, which takes it too",
    ),
    # modes
    Equal(M, "self._calm_s = 0.0", "self._calm_s = 1.0", "read only in an emergency, and the alarm that begins one sets it to nought"),
    # shield
    *(
        Equal(S, before, before.replace("warm_sign > 0.0", "warm_sign >= 0.0").replace("warm_sign[k] > 0.0", "warm_sign[k] >= 0.0"), SIGN)
        for before in (
            "colder = np.where(self.warm_sign > 0.0, np.minimum(u, last), np.maximum(u, last))",
            "coldest = np.where(self.warm_sign > 0.0, self.lo, self.hi)",
            "coldest = self.lo[k] if self.warm_sign[k] > 0.0 else self.hi[k]",
            "held = np.where(self.warm_sign > 0.0, np.minimum(u, self.last), np.maximum(u, self.last))",
        )
    ),
    Equal(S, "self.warm_sign = np.array(PLANT_WARM_SIGN + (1.0, -1.0) * count)", "self.warm_sign = np.array(PLANT_WARM_SIGN + (1.1, -1.0) * count)", "only its sign is asked for"),
    Equal(S, "self.warm_sign = np.array(PLANT_WARM_SIGN + (1.0, -1.0) * count)", "self.warm_sign = np.array(PLANT_WARM_SIGN + (1.0, -1.1) * count)", "only its sign is asked for"),
    *(
        Equal(S, "PLANT_WARM_SIGN = (1.0, -1.0, -1.0, 1.0, -1.0, -1.0, -1.0)", f"PLANT_WARM_SIGN = ({', '.join(signs)})", "only its sign is asked for")
        for signs in ([f"{s * (1.1 if k == j else 1.0)}" for j, s in enumerate((1.0, -1.0, -1.0, 1.0, -1.0, -1.0, -1.0))] for k in range(7))
    ),
    Equal(S, 'self._set(u, np.clip(u, c.baseline_u - band, c.baseline_u + band), bits, "authority")', 'self._set(u, np.clip(c.baseline_u - band, u, c.baseline_u + band), bits, "authority")', CLIP),
    Equal(S, 'self._set(u, np.clip(u, self.lo, self.hi), bits, "site_limit")', 'self._set(u, np.clip(self.lo, u, self.hi), bits, "site_limit")', CLIP),
    Equal(S, "slewed = np.clip(u, self.last - self.down * dt_s, self.last + self.up * dt_s)", "slewed = np.clip(self.last - self.down * dt_s, u, self.last + self.up * dt_s)", CLIP),
    Equal(
        S,
        "plant, u = c.est.plant, np.clip(np.where(np.isfinite(c.baseline_u), c.baseline_u, coldest), self.lo, self.hi)",
        "plant, u = c.est.plant, np.clip(self.lo, np.where(np.isfinite(c.baseline_u), c.baseline_u, coldest), self.hi)",
        CLIP,
    ),
    Equal(
        S,
        "for k, value in zip((U_CHWST, U_CHW_DP, U_CHILLERS, U_CWST, U_CELLS), found, strict=True):",
        "for k, value in zip((U_CHWST, U_CHW_DP, U_CHILLERS, U_CWST, U_CELLS), found, strict=False):",
        "both have five entries, written two lines apart",
    ),
    Equal(S, "if not (self._out[O_VALVE] > COIL_VALVE_MAX or self._out[O_UNMET] > 0.0):", "if not (self._out[O_VALVE] > COIL_VALVE_MAX or False):", WIDE),
    Equal(S, "if not (self._out[O_VALVE] > COIL_VALVE_MAX or self._out[O_UNMET] > 0.0):", "if not (self._out[O_VALVE] > COIL_VALVE_MAX or self._out[O_UNMET] > 1.0):", WIDE),
    Equal(S, "ratio = min(self._out[O_VALVE] / 0.9, 1.6) ** 2", "ratio = min(self._out[O_VALVE] / 0.9, 1.7600000000000002) ** 2", "the model's valve is 1 at most, so the quotient never reaches either"),
    Equal(S, "if not share > 0.0:", "if not share >= 0.0:", "a share of nought moves no setpoint and names none"),
    Equal(S, "return", "pass", "nothing has changed that another look could find changed: only the looks are spared", "Shield._coil"),
    Equal(S, "if c.available <= u[U_CHILLERS] < last[U_CHILLERS]:", "if c.available <= u[U_CHILLERS] <= last[U_CHILLERS]:", FLOOR),
    Equal(
        S,
        "held, economizer = min(self.last[U_CHILLERS], c.available), self.last[U_ECONOMIZER]",
        "held, economizer = max(self.last[U_CHILLERS], c.available), self.last[U_ECONOMIZER]",
        FLOOR,
    ),
    Equal(S, "if u[U_CHILLERS] < held or u[U_ECONOMIZER] < economizer:", "if u[U_CHILLERS] <= held or u[U_ECONOMIZER] < economizer:", FLOOR),
    Equal(S, "if u[U_CHILLERS] < held or u[U_ECONOMIZER] < economizer:", "if u[U_CHILLERS] < held or u[U_ECONOMIZER] <= economizer:", FLOOR),
    Equal(S, 'running(c.est.plant["chillers_on"], u[U_CHILLERS]),', 'running(u[U_CHILLERS], c.est.plant["chillers_on"]),', SEEN),
    Equal(S, 'running(c.est.plant["economizer_on"], u[U_ECONOMIZER]),', 'running(u[U_ECONOMIZER], c.est.plant["economizer_on"]),', SEEN),
    Equal(
        S,
        "if now_s - self._started_s < d.chiller_between_starts_s or since < wait_s:",
        "if False or since < wait_s:",
        "a start is a change: since the last change no more time has passed than since the last start, and the wait is no shorter",
    ),
    *(
        Equal(S, f"return bool(fits and self._out[O_UNMET] <= 0.0 and {clause})", f"return bool(fits and self._out[O_UNMET] <= 0.0 and {changed})", PULL)
        for clause, changed in (
            ("self._out[O_CHWST] <= trial[U_CHWST] + 0.3", "True"),
            ("self._out[O_CHWST] <= trial[U_CHWST] + 0.3", "self._out[O_CHWST] < trial[U_CHWST] + 0.3"),
            ("self._out[O_CHWST] <= trial[U_CHWST] + 0.3", "self._out[O_CHWST] <= trial[U_CHWST] + 0.33"),
        )
    ),
    Equal(
        S,
        "self._is_fan = np.isin(np.arange(U_HALL + 2 * count), np.arange(U_HALL + 1, U_HALL + 2 * count, 2))",
        "self._is_fan = np.isin(np.arange(U_HALL + 2 * count), np.arange(U_HALL + 1, U_HALL + 3 * count, 2))",
        "looked for among the positions that there are: those beyond are found nowhere",
    ),
    Equal(
        S,
        "colder, own = u.copy(), np.clip(self.foresight.own, self.lo, self.hi)",
        "colder, own = u.copy(), np.clip(self.lo, self.foresight.own, self.hi)",
        CLIP,
    ),
    Equal(
        S,
        "np.clip(colder, c.baseline_u - self.authority, c.baseline_u + self.authority, out=colder)",
        "np.clip(c.baseline_u - self.authority, colder, c.baseline_u + self.authority, out=colder)",
        CLIP,
    ),
    Equal(
        S,
        "colder = np.where(self.warm_sign > 0.0, np.minimum(u, colder), np.maximum(u, colder))",
        "colder = np.where(self.warm_sign >= 0.0, np.minimum(u, colder), np.maximum(u, colder))",
        SIGN,
    ),
    *(
        Equal(
            RANGES,
            "lo = [lim.chwst_sp_min_c, lim.chw_dp_sp_min_pa, 0.0 if p.economizer.present > 0.5 else 1.0, lim.cwst_sp_min_c, 1.0,",
            f"lo = [lim.chwst_sp_min_c, lim.chw_dp_sp_min_pa, 0.0 if p.economizer.present {after} else 1.0, lim.cwst_sp_min_c, 1.0,",
            PRESENT,
        )
        for after in (">= 0.5", "> 0.55")
    ),
    # foresight
    Equal(F, "STATES = 8", "STATES = 9", "one more column that nobody reads"),
    Equal(
        F,
        "bias_k = lately_k if not off_k >= lately_k and lately_k == lately_k else off_k",
        "bias_k = lately_k if not off_k > lately_k and lately_k == lately_k else off_k",
        "where both are the same either is the answer",
    ),
    *(
        Equal(F, "if plates > 0.5 and p.economizer.present > 0.5:", after, PRESENT)
        for after in ("if plates > 0.5 and p.economizer.present >= 0.5:", "if plates > 0.5 and p.economizer.present > 0.55:")
    ),
    Equal(F, "hottest_c, t_s = -273.0, 0.0", "hottest_c, t_s = -300.3, 0.0", "the first hall of the first step is warmer than either"),
    Equal(
        F,
        "tau_s = SUPPLY_UP_TAU_S if sat_sp_c > state[h, N_SAT] else SUPPLY_DOWN_TAU_S",
        "tau_s = SUPPLY_UP_TAU_S if sat_sp_c >= state[h, N_SAT] else SUPPLY_DOWN_TAU_S",
        "where both are the same there is no way to go, however fast",
    ),
    Equal(
        F,
        "sat_c = state[h, N_SAT] + min(step_s / tau_s, 1.0) * (sat_sp_c - state[h, N_SAT])",
        "sat_c = state[h, N_SAT] + min(step_s / tau_s, 1.1) * (sat_sp_c - state[h, N_SAT])",
        "no step is as long as the shorter of the two time constants",
    ),
    Equal(F, "self._now = Now(*[np.nan] * len(Now._fields))", "pass", "look sets it before anything reads it"),
    Equal(
        F,
        "dt_s = min(max(est.now_s - self._read_s, 0.0), DT_MAX_S) if self._read_s == self._read_s else 0.0",
        "dt_s = min(max(est.now_s - self._read_s, 0.0), DT_MAX_S) if self._read_s == self._read_s else 1.0",
        "in the first look nothing is remembered that time could change",
    ),
    Equal(F, "if self.hottest_c <= self._limit_c:", "if self.hottest_c < self._limit_c:", "who stands at the very limit is below the bar, which is above it"),
    # IT power
    Equal(H, "given_w *= GIVEN_OFF if given_w > 0.0 else TAKEN_UP", "given_w *= GIVEN_OFF if given_w >= 0.0 else TAKEN_UP", "nothing given off is nothing by either share"),
    Equal(H, "all_said_w, missing_w = 0.0, 0.0", "all_said_w, missing_w = 0.0, 1.0", "asked for only where more than 3 % of a hall's design load is missing: that is more than a watt"),
    Equal(H, "if air_w[h] - said_w[h] > missing_w:", "if air_w[h] - said_w[h] >= missing_w:", "it is set to what it is"),
    Equal(
        H,
        "dt_s = min(max(since_s, 0.0), 60.0) if since_s == since_s else 0.0",
        "dt_s = min(max(since_s, 0.0), 60.0) if since_s == since_s else 1.0",
        FIRST,
    ),
    Equal(H, "rat_c = np.empty(halls.shape[0])", "rat_c = np.empty(halls.shape[1])", "one entry a hall is read of it, however long it is"),
    Equal(H, "self._last_s, self._any = np.nan, False", "self._last_s, self._any = np.nan, True", "no meter is doubted yet, and so none is named"),
    Equal(
        H,
        "follow_heat(metered_w, sat_c, rat_c, fan, pressure_pa, halls, dt_s, mass_c, slow_c, said_w, air_w)",
        "follow_heat(metered_w, sat_c, rat_c, fan, pressure_pa, halls, dt_s, slow_c, mass_c, said_w, air_w)",
        ALIKE,
    ),
    *(
        Equal(
            H,
            "any_over = weigh_heat(air_w, said_w, nom_w, sat_c, counted_w, dt_s, slow_sat_c, over_s, well_s, over, doubted)",
            f"any_over = weigh_heat(air_w, said_w, nom_w, sat_c, counted_w, dt_s, {swapped}, over, doubted)",
            why,
        )
        for swapped, why in (("over_s, slow_sat_c, well_s", ALIKE), ("slow_sat_c, well_s, over_s", FIRST))
    ),
    Equal(
        H,
        "est.fan_speed, est.w[W_PRESSURE], water_w, self._water_w, dt_s, self._scratch, self._metered_w, self._mass_c,",
        "est.fan_speed, est.w[W_PRESSURE], water_w, self._water_w, dt_s, self._scratch, self._metered_w, self._slow_c,",
        ALIKE,
    ),
    *(
        Equal(
            H,
            "self._slow_c, self._said_w, self.air_w, self._sat_c, self._over_s, self._well_s, self._over, self.doubted,",
            f"{swapped}, self._over, self.doubted,",
            why,
        )
        for swapped, why in (
            ("self._said_w, self._slow_c, self.air_w, self._sat_c, self._over_s, self._well_s", ALIKE),
            ("self._slow_c, self._said_w, self.air_w, self._sat_c, self._well_s, self._over_s", FIRST),
            ("self._slow_c, self._said_w, self.air_w, self._over_s, self._sat_c, self._well_s", ALIKE),
        )
    ),
    # machines
    Equal(X, "self._available, self._fewer, self._dark = np.nan, 0, 0", "self._available, self._fewer, self._dark = np.nan, 1, 0", "nothing is fewer than what is not known: the first look sets it to nought"),
    Equal(X, "if one or not available < self._available:", "if one or not available <= self._available:", "where both are the same it is set to what it is"),
    *(
        Equal(X, before, after, "it only spares the closer look, which finds nothing then either")
        for before, after in (
            ("any_missing = False", "any_missing = True"),
            ("any_missing = any_missing or apart_s[k] > patience_s[k]", "any_missing = any_missing or apart_s[k] >= patience_s[k]"),
            ("self._any = False", "self._any = True"),
        )
    ),
    # the decoder
    Equal(C, "if TYPE_CHECKING:", "if not (TYPE_CHECKING):", "a name for annotations alone, which nothing evaluates"),
    *(
        Equal(C, 'self._routes[sources.bms_heartbeat] = Route(sources.bms_heartbeat, "dsx", dsx.read_heartbeat)', f"self._routes[sources.bms_heartbeat] = Route({after}, dsx.read_heartbeat)", "a heartbeat has no point, so nobody asks its route for its topic or dialect")
        for after in ('"dsx", sources.bms_heartbeat', "sources.bms_heartbeat, 'dsxX'")
    ),
    Equal(C, "if not self._has_memory or before in (0, connects):", "if False or before in (0, connects):", "without points of the bus and without nodes the list below it is empty"),
    # the proof test
    Equal(P, "self._since_s = -math.inf", "self._since_s = math.inf", BEFORE_PROOF),
    Equal(P, "self._seen = Seen(-math.inf, math.nan, {})", "self._seen = Seen(math.inf, math.nan, {})", "words from the end of time are not heard either: their age is below nought"),
    Equal(P, "self._seen = Seen(-math.inf, math.nan, {})", "self._seen = Seen(math.nan, -math.inf, {})", "words of no time are not heard either, and what is not heard is not looked at"),
    Equal(P, "self._seen = Seen(-math.inf, math.nan, {})", "self._seen = Seen(-math.inf, {}, math.nan)", "what is not heard is not looked at"),
    Equal(P, "self._before: Mapping[str, float] = {}", "pass", BEFORE_PROOF),
    Equal(P, "self._let_go_s = math.nan", "pass", BEFORE_PROOF, "ProofTest.__init__"),
)  # fmt: skip
