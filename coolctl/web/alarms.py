"""Alarms of the page: the alerts of `config/prometheus/alerts.yml` that can be seen from what the page hears.

Same names, delays and thresholds, so that a person who is paged finds the same words here. What only the controller's own
process knows (late ticks, its disk, certificates, refused messages) stays with Prometheus. The page is read-only: there is
nothing to acknowledge here, an alarm ends when its cause does.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

SEVERITIES = ("critical", "warning", "info")
KEPT = 100
CALM_S = 10.0
"""An alarm that has begun ends after its cause has been gone for so long: one line for a value on the edge, not fifty."""
INLET_OVER_K = 0.5
GATEWAY_SILENT_S, RIDE_THROUGH_MIN_S = 15.0, 120.0
UNUSABLE_MAX_RATIO, NOT_FOLLOWED_RATIO = 0.1, 0.1
MODEL_OFF_RATIO, MODEL_MEAN_S = 0.2, 3600.0
SILENT_S = 5.0
"""No decision, or no telemetry, for so long counts as silence."""


class Rule(NamedTuple):
    """An alert by its name: how grave, after how long [s], judged on the link's own clock or the plant's, what to do."""

    name: str
    severity: str
    after_s: float
    on_link: bool
    title: str
    do: str


RULES = (
    Rule("CoolctlEmergency", "critical", 0.0, False, "emergency: full cooling",
         "Go to the plant first. coolctl mode release gives it to its own control at once."),
    Rule("CoolctlInletAboveAllowable", "critical", 0.0, False, "a rack inlet is above allowable",
         "Treat it as a loss of cooling: the site's own emergency procedure comes first."),
    Rule("CoolctlDown", "critical", 120.0, True, "no decision from the controller",
         "systemctl status coolctl@SITE, then journalctl -u coolctl@SITE -n 50."),
    Rule("CoolctlDeaf", "critical", 60.0, True, "connected to the broker, but no telemetry",
         "coolctl doctor --site FILE lists each point as seen or not."),
    Rule("CoolctlGatewaySilent", "critical", 60.0, False, "the gateway is silent",
         "systemctl status coolctl-gateway@SITE on its machine, then the broker between the two."),
    Rule("CoolctlBrokerLost", "warning", 60.0, True, "no connection to the broker",
         "Is the broker running, its port open, its certificate valid? coolctl doctor tells the three apart."),
    Rule("CoolctlInletAboveLimit", "warning", 120.0, False, "a rack inlet is above its limit",
         "One rack: neighbours, blanking plates, its sensor. A whole hall: valve and fans of its CRAHs."),
    Rule("CoolctlRideThroughShort", "warning", 300.0, False, "too little time without chillers",
         "Check buffer and UPS in the site file; lower the limit of the inlets by a kelvin until it is known."),
    Rule("CoolctlNoRedundancy", "warning", 600.0, False, "a single failure could not be carried",
         "Bring the machine that is out of service back before the next load peak, or move load."),
    Rule("CoolctlFallbackActive", "warning", 900.0, False, "on the rule baseline although the policy is granted",
         "The mode line names the reason; after a start it takes five minutes of clean evidence."),
    Rule("CoolctlSetpointNotFollowed", "warning", 300.0, False, "a setpoint is not applied as published",
         "Compare [limits] and [gateway] of the site file; is the point's priority array held at the BMS?"),
    Rule("CoolctlSensorsStale", "warning", 300.0, False, "points are stale or bad",
         "One topic: its source. Many: the gateway of the sensors. coolctl points --site FILE lists them."),
    Rule("CoolctlLoopSick", "warning", 1800.0, False, "a local control loop is sick",
         "Hunting: halve its gain at the BMS. Winds up: something it drives does not answer."),
    Rule("CoolctlReleased", "info", 900.0, False, "controls nothing although it may",
         "In hand is somebody's choice: ask before changing it."),
    Rule("CoolctlPointsDoubted", "info", 1800.0, False, "a sensor is not believed",
         "Have the sensor looked at; its hall is run a little colder meanwhile."),
    Rule("CoolctlHallSuspect", "info", 3600.0, False, "a hall stands out from the others",
         "Clean the coil, stroke the valve, check the sensor against a handheld."),
    Rule("CoolctlModelDrift", "info", 21600.0, False, "the model is off the meters",
         "coolctl calibrate FOLDER on the last day tells which machine."),
    Rule("CoolctlHeldSetpoints", "info", 43200.0, False, "a person has held a setpoint for long",
         "coolctl mode --site FILE --let-go POINT ends a hold early."),
)  # fmt: skip
BY_NAME = {rule.name: rule for rule in RULES}


class View(NamedTuple):
    """What the page knows in this moment; `decision` None = none heard lately, `silent_s` None = never heard."""

    decision: dict[str, Any] | None
    connected: bool
    decision_silent_s: float | None
    telemetry_silent_s: float | None
    unusable_ratio: float
    allowable_c: float
    hottest_c: float
    model_off_ratio: float


def causes(v: View) -> dict[str, str]:
    """Which rules' conditions hold now, and their causes in words."""
    found = {}
    if not v.connected:
        found["CoolctlBrokerLost"] = "The page's own connection is down; the controller may have lost it too."
    else:
        if v.telemetry_silent_s is None or v.telemetry_silent_s > SILENT_S:
            found["CoolctlDeaf"] = _silence("telemetry", v.telemetry_silent_s)
        if v.decision_silent_s is None or v.decision_silent_s > SILENT_S:
            found["CoolctlDown"] = _silence("decision", v.decision_silent_s) + " The plant has itself."
    if v.hottest_c > v.allowable_c:
        found["CoolctlInletAboveAllowable"] = f"{v.hottest_c:.1f} °C, allowable {v.allowable_c:g} °C."
    if v.unusable_ratio > UNUSABLE_MAX_RATIO and v.telemetry_silent_s is not None:
        found["CoolctlSensorsStale"] = f"{100.0 * v.unusable_ratio:.0f} % of the points."
    if abs(v.model_off_ratio) > MODEL_OFF_RATIO:
        found["CoolctlModelDrift"] = f"By {100.0 * v.model_off_ratio:+.0f} % over the last hour."
    if v.decision is not None:
        found |= _of_mode(v.decision) | _of_plant(v.decision) | _of_people(v.decision)
    return found


def _silence(what: str, silent_s: float | None) -> str:
    return f"No {what} heard yet." if silent_s is None else f"No {what} for {silent_s:.0f} s."


def _of_mode(d: dict[str, Any]) -> dict[str, str]:
    found, why = {}, d["mode_reason"]
    if d["mode"] == "emergency":
        found["CoolctlEmergency"] = why
    if d["mode"] == "fallback" and d["granted"] in ("auto", "bounded"):
        found["CoolctlFallbackActive"] = f"Granted {d['granted']}: {why}" + (
            f"; {d['policy_fault']}" if d["policy_fault"] else ""
        )
    if d["mode"] == "release" and d["granted"] in ("auto", "bounded", "fallback"):
        found["CoolctlReleased"] = f"Granted {d['granted']}: {why}"
    if (age_s := d["gateway_age_s"]) is not None and age_s > GATEWAY_SILENT_S:
        found["CoolctlGatewaySilent"] = f"For {age_s:.0f} s. The BMS has itself since its own lease ended."
    return found


def _of_plant(d: dict[str, Any]) -> dict[str, str]:
    found = {}
    inlet_c, limit_c = d["rack_inlet"]["max_c"], d["rack_inlet"]["limit_c"]
    if inlet_c is not None and limit_c is not None and inlet_c > limit_c + INLET_OVER_K:
        found["CoolctlInletAboveLimit"] = f"{inlet_c:.1f} °C, limit {limit_c:g} °C."
    if (ride_s := d["ride_through_s"]) is not None and ride_s < RIDE_THROUGH_MIN_S:
        found["CoolctlRideThroughShort"] = f"{ride_s:.0f} s until the first rack passes its allowable inlet."
    weakest = d["weakest"]
    if weakest and weakest["ratio"] is not None and weakest["ratio"] < 1.0:
        found["CoolctlNoRedundancy"] = (
            f"Without one {weakest['machine'].replace('_', ' ')}: {100 * weakest['ratio']:.0f} % is left."
        )
    if d["sick_loops"]:
        found["CoolctlLoopSick"] = _list(f"{name} {text}" for name, text in d["sick_loops"].items())
    if d["doubted"]:
        found["CoolctlPointsDoubted"] = _list(f"{name} {text}" for name, text in d["doubted"].items())
    if d["suspect"]:
        found["CoolctlHallSuspect"] = f"{d['suspect']['hall']}: {d['suspect']['text']}"
    return found


def _of_people(d: dict[str, Any]) -> dict[str, str]:
    found = {}
    if d["overridden"]:
        found["CoolctlHeldSetpoints"] = _list(f"{name} at {value:g}" for name, value in d["overridden"].items())
    apart = [
        f"{name} {applied:g} instead of {sent:g}"
        for name, applied in d["applied"].items()
        if (sent := d["setpoints"].get(name, {}).get("value")) is not None
        and abs(applied - sent) > NOT_FOLLOWED_RATIO * max(abs(sent), 1.0)
    ]
    if apart:
        found["CoolctlSetpointNotFollowed"] = _list(apart)
    return found


def _list(texts: Any, most: int = 4) -> str:
    every = list(texts)
    return "; ".join(every[:most]) + (f"; and {len(every) - most} more" if len(every) > most else "")


class Alarms:
    """Follows the conditions: since when, from when on an alarm, and what has been; nothing is acknowledged."""

    def __init__(self, version: int = 0) -> None:
        self.active: dict[str, dict[str, Any]] = {}
        self.past: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.version = version
        self._since: dict[str, tuple[float, float]] = {}
        self._gone: dict[str, float] = {}

    def step(self, found: dict[str, str], now_s: float, link_s: float) -> None:
        """`found` as of `causes`; `now_s` [s] runs with the plant, `link_s` [s] always."""
        for name, cause in found.items():
            rule = BY_NAME[name]
            clock_s = link_s if rule.on_link else now_s
            since_s, shown_s = self._since.setdefault(name, (clock_s, now_s))
            self._gone.pop(name, None)
            if name in self.active:
                self.active[name]["cause"] = cause
            elif clock_s - since_s >= rule.after_s:
                self.active[name] = {**_words(rule), "cause": cause, "since_s": round(shown_s, 1), "until_s": None}
                self.version += 1
        for name in self._since.keys() - found.keys():
            clock_s = link_s if BY_NAME[name].on_link else now_s
            if name not in self.active:
                del self._since[name]
            elif clock_s - self._gone.setdefault(name, clock_s) >= CALM_S:
                self.past.append({**self.active.pop(name), "until_s": round(now_s, 1)})
                del self._since[name], self._gone[name]
                self.version += 1

    def listed(self) -> list[dict[str, Any]]:
        """Those that stand, the gravest and then the newest first."""
        return sorted(self.active.values(), key=lambda a: (SEVERITIES.index(a["severity"]), -a["since_s"]))


def _words(rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name, "severity": rule.severity, "title": rule.title, "do": rule.do,
        "runbook": f"runbooks.html#{rule.name.lower()}",
    }  # fmt: skip
