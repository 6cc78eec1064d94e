"""Bugs that a hand could make: each is put into a copy of the code and must be caught by the tests named (`make bugs`)."""

from __future__ import annotations

from typing import NamedTuple

WIRE = ("tests/test_wire.py", "tests/test_safety_edges.py")
GATE = ("tests/test_wire.py", "tests/test_gateway.py")
MODE = ("tests/test_control.py", "tests/test_gateway.py")
SHIELD = (
    "tests/test_control.py",
    "tests/test_transitions.py",
    "tests/test_safety_edges.py",
    "tests/test_scenario.py",
    "tests/test_faults.py",
)
HEALTH = ("tests/test_health.py", "tests/test_faults.py")
POINTS = ("tests/test_points.py", "tests/test_wire.py")
NUM = ("tests/test_num.py", "tests/test_psychro.py")
INVARIANTS = ("tests/test_invariants.py",)
HOLDS = ("tests/test_holds.py",)
DIALECTS = ("tests/test_dialects.py", "tests/test_sparkplug.py", "tests/test_dsx.py")
OUTPUTS = ("tests/test_outputs.py", "tests/test_sparkplug_node.py")
MODEL = ("tests/test_admission.py", "tests/test_policy.py")


class Bug(NamedTuple):
    """Text of a file that is replaced, and by what."""

    file: str
    good: str
    bad: str
    tests: tuple[str, ...]


G, L, M, S, H = (
    "coolctl/gateway.py",
    "coolctl/lease.py",
    "coolctl/control/mode.py",
    "coolctl/control/shield.py",
    "coolctl/control/health.py",
)
P, J, D, N = "coolctl/proof.py", "coolctl/strict_json.py", "coolctl/dialects/native.py", "coolctl/num.py"
DSX, B = "coolctl/dialects/dsx.py", "coolctl/dialects/sparkplug.py"

BUGS = (
    # gateway
    Bug(G, "m.seq > self.seq", "m.seq >= self.seq", GATE),
    Bug(G, "0.0 <= self.now_s - m.gw_echo <= ECHO_MAX_S", "self.now_s - m.gw_echo <= ECHO_MAX_S", (*GATE, "tests/test_faults.py")),
    Bug(G, "ECHO_MAX_S = 5.0", "ECHO_MAX_S = 50.0", (*GATE, "tests/test_faults.py")),
    Bug(G, '(not retained, "retained"),', "", GATE),
    Bug(G, "m.epoch == self._epochs.value and", "m.epoch >= self._epochs.value - 1 and", GATE),
    Bug(G, '(m.gw_nonce == self.nonce, "nonce"),', "", GATE),
    Bug(G, "self.now_s <= self.lease_until_s and bool(self.applied)", "bool(self.applied)", GATE),
    Bug(G, "min(m.ttl_s, self._table.ttl_s)", "max(m.ttl_s, self._table.ttl_s)", GATE),
    Bug(G, "return max(float(low), point.low), min(float(high), point.high)", "return min(float(low), point.low), max(float(high), point.high)", (*GATE, "tests/test_faults.py")),
    Bug(G, "return min(max(value, last - step), last + step)", "return value", GATE),
    Bug(G, "if hand:\n            self._forget()", "if hand:\n            pass", GATE),
    Bug(G, "if now_s < self.now_s:\n            self._forget()", "if now_s < self.now_s:\n            pass", GATE),
    Bug(G, "self._epochs.raise_it()\n        self.holder, self.holder_nonce", "self.holder, self.holder_nonce", GATE),
    Bug(G, "self.now_s - self.heard_s <= STANDBY_SILENCE_S", "False", GATE),
    Bug(G, "min(self._table.bms_ttl_s, self.lease_until_s - self.now_s)", "self._table.bms_ttl_s", GATE),
    Bug(G, "if self.proof is not None and self.proof.tick(now_s, self.leased):\n            self._forget()", "if self.proof is not None:\n            self.proof.tick(now_s, self.leased)", GATE),
    # proof test
    Bug(P, "if follows:\n            return self._fail(", "if False:\n            return self._fail(", GATE),
    Bug(P, "< STILL_RUNS_RATIO * was", "< 0.0", GATE),
    Bug(P, "waited_s >= self._wait_s", "waited_s >= 1.0", GATE),
    Bug(P, 'return "proof" if self.state == SILENT else ""', 'return ""', GATE),
    Bug(P, "elif heard and now_s - self._let_go_s > self._wait_s:", "elif False:", GATE),
    # lease and decoding
    Bug(L, "if _checksum(o) != crc:", "if False:", WIRE),
    Bug(L, "if not (math.isfinite(value) and low <= value <= high):", "if not low <= value <= high and math.isfinite(value):", WIRE),
    Bug(L, "if set(o) != keys:", "if not set(o) >= keys:", WIRE),
    Bug(J, "if len(found) != len(pairs):", "if False:", WIRE),
    Bug(J, "if value - value != 0.0:", "if value != value:", WIRE),
    Bug(J, 'raw.count(b":") == len(found) + len(values)', "True", WIRE),
    Bug(D, "if type(quality) is not int:", "if False:", (*WIRE, "tests/test_points.py")),
    Bug(D, "np.abs(wire).max() <= INTEGER_MAX", "True", WIRE),
    Bug("coolctl/dialects/route.py", "if i is None or before != names:", "if i is None:", (*WIRE, "tests/test_faults.py")),
    # dialects
    Bug(DSX, "if not source.alive:", "if False:", DIALECTS),
    Bug(DSX, "moves = stamp != self._beat", "moves = True", DIALECTS),
    Bug(DSX, 'if value is None or o["quality"] != 1:', "if value is None:", DIALECTS),
    Bug(DSX, "if UNITS[known] != UNITS[point.unit] and", "if False and", DIALECTS),
    Bug("coolctl/dialects/dsx_out.py", "if not self.can_write(wire):", "if False:", DIALECTS),
    Bug("coolctl/dialects/dsx_out.py", "if metadata.integration != self._integration:", "if False:", DIALECTS),
    Bug("coolctl/dialects/output.py", "return not self.faults.keys() - (self.points.keys() - set(names))", "return True", OUTPUTS),
    Bug("coolctl/dialects/output.py", "if now_s - self._astray_s < self._patience_s:", "if True:", OUTPUTS),
    Bug("coolctl/dialects/sparkplug_out.py", 'self._online = "" if ours else', 'self._online = "" if True else', OUTPUTS),
    Bug("coolctl/dialects/sparkplug_out.py", 'return "" if source.device in node.devices else', 'return "" if True else', OUTPUTS),
    Bug("coolctl/dialects/neuron_out.py", "        if code:\n", "        if False:\n", OUTPUTS),
    Bug("coolctl/dialects/sparkplug_node.py", "self.bd_seq = (self.bd_seq + 1) % CYCLE", "self.bd_seq = 0", OUTPUTS),
    Bug("coolctl/gateway_main.py", "self.core.can_write = self.output.can_write", "pass", OUTPUTS),
    Bug("sim_plant/dsx_bms.py", "self.values, self._heard_s = {}, -math.inf", "pass", DIALECTS),
    Bug(B, "if not node.born:", "if False:", DIALECTS),
    Bug(B, "if not node.born or payload.bd_seq() != node.bd_seq:", "if not node.born:", DIALECTS),
    Bug(B, "if m.null or m.quality != GOOD:", "if m.null:", DIALECTS),
    Bug(B, "elif now_s - node.gap_s > self._reorder_s:", "elif False:", DIALECTS),
    Bug("coolctl/dialects/route.py", "return self.series.setdefault(i, series) == series", "return True", DIALECTS),
    # modes
    Bug(M, "SOFT_TICKS = 3", "SOFT_TICKS = 30", MODE),
    Bug(M, "if self.clean_s >= self.clean_needed_s:", "if self.clean_s >= 0.0:", MODE),
    Bug(M, "self.clean_s = 0.0 if fault else self.clean_s + dt_s", "self.clean_s = self.clean_s + dt_s", MODE),
    Bug(M, "if e.hand:", "if False:", MODE),
    Bug(M, "if e.gateway_age_s > GATEWAY_LOST_S:", "if False:", MODE),
    Bug(M, "if e.over_alarm or e.no_cooling:", "if e.over_alarm and e.no_cooling:", MODE),
    Bug(M, "self.latched = len(self._rearms_s) > REARM_MAX_PER_H", "self.latched = False", MODE),
    Bug(M, "if not e.held:", "if False:", MODE),
    Bug(M, '(e.ack_agrees, "the plant', '(True, "the plant', MODE),
    # shield
    Bug(S, 'self._set(u, np.where(np.isfinite(u), u, last), bits, "not_a_number")\n        u[theirs]', "u[theirs]", SHIELD),
    Bug(S, 'self._set(u, np.clip(u, self.lo, self.hi), bits, "site_limit")', "", SHIELD),
    Bug(S, "if c.est.quorum and below and c.confirmed and room:", "if True:", SHIELD),
    Bug(S, "if c.est.quorum and below and c.confirmed and room:", "if c.est.quorum or below:", SHIELD),
    Bug(S, 'self._set(u, slewed, bits, "rate")', "", SHIELD),
    Bug(S, "if not (rest_ok and c.ride_through_s >= self._required_s and c.est.quorum):", "if False:", SHIELD),
    Bug(S, "more[W_HALL:] *= ratio", "more[W_HALL:] *= 0.5", SHIELD),
    Bug(S, "if u[U_CHILLERS] < held and since < d.chiller_on_s:", "if False:", SHIELD),
    Bug(S, "self._rescue(u, c, bits)\n", "\n", SHIELD),
    Bug(S, "return max(SUPPLY_FLOOR_C, dewpoint + self._lim.dewpoint_margin_k)", "return SUPPLY_FLOOR_C", SHIELD),
    Bug(S, "least = self._lim.airflow_ratio_min * demand if demand == demand", "least = 0.0 * demand if demand == demand", SHIELD),
    Bug(S, "if c.available <= u[U_CHILLERS] < last[U_CHILLERS]:", "if False:", SHIELD),
    # sensors
    Bug(H, "value[self.doubt != NOT] = np.nan", "pass", HEALTH),
    Bug(H, " and not (is_rack[i] and value[i] > believed[i])", "", HEALTH),
    Bug(H, "hottest = np.fmax(est.inlet_max_c, self.virtual_c)", "hottest = est.inlet_max_c", HEALTH),
    Bug("coolctl/points.py", "age_s[i] > age_max_s[i]", "age_s[i] > 1e9", POINTS),
    # numbers
    Bug(N, "if math.isnan(x):\n        return x\n    if x < lo:", "if math.isnan(x):\n        return hi\n    if x < lo:", NUM),
    Bug(N, "if math.isnan(target):\n        return last", "if math.isnan(target):\n        return target", NUM),
    Bug("coolctl/jit.py", 'return _compiled(function, False)', 'return _compiled(function, True)', NUM),
    # judges, operators, admission
    Bug("coolctl/invariants.py", "if not r.carries_without:", "if False:", INVARIANTS),
    Bug("coolctl/invariants.py", "<= before + up * r.dt_s", "<= before + 2.0 * up * r.dt_s", INVARIANTS),
    Bug("coolctl/daemon_state.py", "if wall_s < h.until_s}", "if True}", HOLDS),
    Bug("coolctl/control/tick.py", "wish = np.where(np.isfinite(self.override_u), self.override_u, wish)", "", HOLDS),
    Bug("coolctl/edge/onnx_policy.py", 'if digest != passport["sha256"]:', "if False:", MODEL),
    Bug("coolctl/onnx_graph.py", "if operator not in OPERATORS or domain not in DOMAINS:", "if operator not in OPERATORS:", MODEL),
    # what is foreseen, heard and counted
    Bug(M, "return len(self._lapses_s) >= LAPSES_MAX", "return False", ("tests/test_mode.py",)),
    Bug("coolctl/control/tick.py", "wish[MACHINES] = last[MACHINES]", "pass", ("tests/test_transitions.py",)),
    Bug("coolctl/control/foresight.py", "hottest_c = max(hottest_c, inlet_c)", "hottest_c = inlet_c", ("tests/test_foresight.py",)),
    Bug("coolctl/control/heat.py", "agreed = not water_w < all_said_w", "agreed = water_w > all_said_w", ("tests/test_weighed.py",)),
    Bug("coolctl/control/machines.py", "self._available - 0.5 else 0", "self._available - 0.5 else self._fewer", ("tests/test_machines.py",)),
    Bug(G, '(not m.sp or self.can_write(m.sp), "unwritable"),', '(True, "unwritable"),', ("tests/test_enforcer.py",)),
)  # fmt: skip
