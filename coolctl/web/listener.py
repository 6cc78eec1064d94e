"""Hears telemetry and decisions, and makes of them what the page shows: the state now, trends, changes, alarms."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coolctl.dialects import decoder_for
from coolctl.edge.mqtt import Message, MqttClient, settings_for
from coolctl.edge.web import PageServer
from coolctl.outlook import Outlook, Prospect
from coolctl.points import Quality, SampleStore, Snapshot
from coolctl.site import Site
from coolctl.strict_json import Rejected
from coolctl.web import trends as t
from coolctl.web.alarms import MODEL_MEAN_S, Alarms, View, causes
from coolctl.web.changes import Changes
from coolctl.web.heard import corrected_baseline_w, read_decision

F64 = NDArray[np.float64]
REFRESH_S, SAMPLE_S = 0.5, 1.0
FRESH_S = 3.0
"""A decision that is older speaks no longer for the plant: what telemetry says of it is taken instead."""
NEW_RUN_S = 60.0
"""A simulated plant's time that goes back by more is another run; by less, a message was late."""
OUTLOOK_EVERY_S = 10.0
METERS = ("chiller_power", "tower_power", "chw_pump_power", "cw_pump_power", "crah_fan_power")


class Listener:
    """Fed by one thread; `document` may be asked by any."""

    def __init__(self, site: Site, broker: str):
        self.site = site
        self.decoder = decoder_for(site)
        self.store = SampleStore(site.table)
        settings = settings_for(site, broker, "web")
        self._decision_topic = site.topic("decision")
        topics = [*self.decoder.topics, self._decision_topic]
        self.client = MqttClient(settings, topics, retained=self.decoder.retained)
        self._described = frozenset(self.decoder.retained)
        self.decision: dict[str, Any] = {}
        self.decision_s = self.telemetry_s = -math.inf
        self.trends, self.changes, self.alarms = t.Trends(), Changes(), Alarms()
        self._sampled_s = self._now_s = -math.inf
        self._history, self._history_version = b"{}", -1
        self._model_off = 0.0
        self._outlook, self._foreseen_s = Outlook(site), -math.inf
        self._foreseen: list[dict[str, Any]] = []
        self._points = _Roles(site)
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    def run(self, server: PageServer) -> None:
        """Until `stop`; the page hears a new state twice a second at most."""
        due_s = time.monotonic()
        while not self._stopping:
            self.client.run_until(due_s, lambda: bool(self.client.inbox) or self._stopping)
            while self.client.inbox:
                self.take(self.client.inbox.popleft())
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + REFRESH_S
                server.update(self.state())
        self.client.close()

    def take(self, m: Message) -> None:
        """A message as it came from the broker."""
        if m.retained and m.topic not in self._described:
            return
        if m.topic != self._decision_topic:
            samples = self.decoder.decode(m.topic, m.payload)
            self.store.put(samples, m.received_s)
            self.telemetry_s = m.received_s if samples else self.telemetry_s
            return
        try:
            decision = read_decision(m.payload)
        except Rejected:
            return  # not a decision: the page shows the last good one growing old
        if self.site.file.site.simulated:
            self._plant_time(decision["t_s"])
        else:
            self._now_s = m.received_s  # a controller that starts anew, or elsewhere, has another clock
        self.decision, self.decision_s = decision, m.received_s
        self.changes.take(decision, self._now_s)
        self._sample(self.store.snapshot(m.received_s), m.received_s)

    def _plant_time(self, t_s: float) -> None:
        """A simulated plant's own time [s]; where it goes back, a new run has begun and the old one is forgotten."""
        if t_s < self._now_s - NEW_RUN_S:
            self.trends.clear()
            self.changes, self.alarms = Changes(self.changes.version + 1), Alarms(self.alarms.version + 1)
            self._now_s = t_s
        self._now_s = max(self._now_s, t_s)

    def look(self, mono_s: float) -> F64:
        """Let a real plant's time go on to `mono_s` [s] and take a value of each series `(series,)`, whoever has spoken since."""
        self._now_s = mono_s
        return self._sample(self.store.snapshot(mono_s), mono_s)

    def _sample(self, snap: Snapshot, mono_s: float) -> F64:
        """One value of everything for the trends, and a look at the alarms."""
        fresh = mono_s - self.decision_s <= FRESH_S
        values = self._points.values(self.decision if fresh else None, snap)
        elapsed_s = min(max(self._now_s - self._sampled_s, 0.0), 60.0) if math.isfinite(self._sampled_s) else 0.0
        self._sampled_s = self._now_s
        self.trends.add(self._now_s, values, self.decision["mode"] if fresh else "")
        power = self.decision.get("power", {})
        if fresh and power["measured_w"] and power["model_w"]:
            share = elapsed_s / MODEL_MEAN_S
            self._model_off += share * (power["model_w"] / power["measured_w"] - 1.0 - self._model_off)
        self._judge(float(values[t.INLET]), snap, mono_s)
        if mono_s - self._foreseen_s >= OUTLOOK_EVERY_S:
            self._foreseen_s = mono_s
            self._foreseen = [
                _foreseen(p) for p in self._outlook.look(snap, *self._points.in_force(self.decision if fresh else {}))
            ]
        return values

    def _judge(self, hottest_c: float, snap: Snapshot, mono_s: float) -> None:
        silent_s = [mono_s - heard_s if math.isfinite(heard_s) else None for heard_s in (self.decision_s, self.telemetry_s)]
        unusable = float((snap.quality[self._points.readable] != Quality.GOOD).mean()) if len(self._points.readable) else 0.0
        decision = self.decision if silent_s[0] is not None and silent_s[0] <= FRESH_S else None
        view = View(
            decision, self.client.ready, silent_s[0], silent_s[1], unusable,
            self.site.file.limits.rack_inlet_allowable_c, hottest_c, self._model_off,
        )  # fmt: skip
        self.alarms.step(causes(view), self._now_s, mono_s)

    def state(self) -> dict[str, Any]:
        """Everything that changes, in wire units; unknown values are left out."""
        mono_s = time.monotonic()
        self.store.forget(self.decoder.reconnected(self.client.connects))
        self.store.forget(self.decoder.watch(mono_s))
        snap = self.store.snapshot(mono_s)
        if not self.site.file.site.simulated and mono_s - self._sampled_s >= SAMPLE_S:
            self.look(mono_s)
        elif mono_s - self.decision_s > FRESH_S:
            self._judge(math.nan, snap, mono_s)  # a simulated plant's time stands; silence does not
        points = self.site.table.points
        values = {p.id: round(p.encode(float(v)), 3) for p, v in zip(points, snap.value, strict=True) if v == v}
        self._list()
        return {
            "connected": self.client.ready,
            "telemetry_age_s": _age(mono_s - self.telemetry_s),
            "decision_age_s": _age(mono_s - self.decision_s),
            "now_s": _age(self._now_s),
            "clock": self.clock(),
            "values": values,
            "decision": self.decision,
            "baseline_w": corrected_baseline_w(self.decision["power"]) if self.decision else None,
            "alarms": self.alarms.listed(),
            "outlook": self._foreseen,
            "history": self._history_version,
        }

    def clock(self) -> dict[str, Any]:
        """How the page tells the time of an entry: by the wall [s to add], or as time since a simulated plant's start."""
        return {} if self.site.file.site.simulated else {"wall_s": round(time.time() - time.monotonic(), 1)}

    def _list(self) -> None:
        """Changes and past alarms as JSON, made where they are changed, so that no other thread walks through them."""
        version = self.changes.version + self.alarms.version
        if version != self._history_version:
            found = {"version": version, "clock": self.clock(), "alarms": list(self.alarms.past)[::-1]}
            raw = json.dumps(found, allow_nan=False, separators=(",", ":")).encode()
            self._history = raw[:-1] + b',"changes":' + self.changes.json() + b"}"
            self._history_version = version

    def documents(self) -> dict[str, Any]:
        """What the page asks for beside the stream: a path, and what makes its JSON."""

        def trend(span: str) -> Any:
            return lambda: self.trends.json(span, self._now_s if math.isfinite(self._now_s) else 0.0, self.clock())

        return {"/history.json": lambda: self._history} | {f"/trends/{span}.json": trend(span) for span in t.SPANS}


class _Roles:
    """Where in the point table the values of the trends stand."""

    def __init__(self, site: Site):
        table = site.table
        self._table = table
        self.readable = np.array([i for i, p in enumerate(table.points) if not p.writable], dtype=np.int64)
        self._inlet, self._sat, self._it = (table.by_role(role) for role in ("rack_inlet", "sat", "it_power"))
        self._meters = np.concatenate([table.by_role(role) for role in METERS])
        self._u_point, self._index = site.u_point, {p.id: i for i, p in enumerate(table.points)}
        self._chwst, self._chwst_sp = table.one("chwst"), table.one("chwst_sp")

    def values(self, d: dict[str, Any] | None, snap: Snapshot) -> F64:
        """One value per series: the controller's where it has spoken just now, else what telemetry says; NaN = not known."""
        v, found = snap.value, np.full(len(t.SERIES), np.nan)
        found[t.INLET] = np.fmax.reduce(v[self._inlet], initial=np.nan)
        found[t.SUPPLY_AIR] = np.fmax.reduce(v[self._sat], initial=np.nan)
        found[t.CHILLED_WATER] = v[self._chwst] if self._chwst >= 0 else np.nan
        found[t.COOLING] = v[self._meters].sum() / 1e3 if len(self._meters) else np.nan
        found[t.IT] = v[self._it].sum() / 1e3 if len(self._it) else np.nan
        if d is not None:
            self._add_decision(d, found)
        if found[t.IT] > 0.0:
            found[t.PUE] = 1.0 + found[t.COOLING] / found[t.IT]
        return found

    def in_force(self, d: dict[str, Any]) -> tuple[F64, list[int]]:
        """The setpoints of a decision as a vector, NaN where it has none, and the points that it does not believe."""
        u = np.full(len(self._u_point), np.nan)
        for k, i in enumerate(self._u_point):
            s = d.get("setpoints", {}).get(self._table.points[i].id) if i >= 0 else None
            if s and s["value"] is not None:
                u[k] = self._table.points[i].decode(s["value"])
        return u, [self._index[name] for name in d.get("doubted", {}) if name in self._index]

    def _add_decision(self, d: dict[str, Any], found: F64) -> None:
        baseline_w, sp = corrected_baseline_w(d["power"]), self._chwst_sp
        for k, value, scale in (
            (t.INLET, d["rack_inlet"]["max_c"], 1.0), (t.COOLING, d["power"]["measured_w"], 1e3),
            (t.IT, d["it_w"], 1e3), (t.BASELINE, baseline_w, 1e3),
        ):  # fmt: skip
            if value is not None:
                found[k] = value / scale
        if sp >= 0 and (s := d["setpoints"].get(self._table.points[sp].id)) and s["value"] is not None:
            found[t.CHILLED_WATER_SP] = self._table.points[sp].decode(s["value"])
        if found[t.BASELINE] > 0.0:
            found[t.SAVING] = 100.0 * (1.0 - found[t.COOLING] / found[t.BASELINE])


def _age(seconds: float) -> float | None:
    return round(seconds, 1) if math.isfinite(seconds) else None


def _foreseen(p: Prospect) -> dict[str, Any]:
    """A prospect as JSON has it: null where no rack gets there in time."""
    return {k: v if isinstance(v, str) else (round(v, 1) if math.isfinite(v) else None) for k, v in p._asdict().items()}
