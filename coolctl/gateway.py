"""The enforcer beside the BMS: accepts leased setpoints, holds its own limits, and lets go by itself.

Its limits and its code are its own: nothing here is shared with the controller but the message format and the point
table. It starts silent. A lease is accepted only from the holder of the epoch it granted, newer than the last, echoing
a tick of this very process not older than five seconds, and wholly inside the limits; then it is passed on to the BMS
as a second lease, and acknowledged with what was applied. `GatewayCore` is pure: messages and time in, messages out.
"""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from coolctl import lease
from coolctl.edge_schema import GatewayTable
from coolctl.points import Point
from coolctl.proof import ProofTest
from coolctl.site import Site
from coolctl.strict_json import Rejected

ECHO_MAX_S = 5.0
STANDBY_SILENCE_S = 3.0
TICK_S = 1.0
TEMPERATURES = ("chwst_sp", "cwst_sp", "sat_sp")


class Out(NamedTuple):
    """A message to publish: kind (topic suffix, or `bms`) and payload."""

    kind: str
    payload: bytes


class EpochFile:
    """The fencing epoch on disk: raised at every start and grant, replaced atomically, never torn."""

    def __init__(self, folder: Path | None):
        self.path = folder / "epoch.json" if folder else None
        self.value = self._read()

    def _read(self) -> int:
        if self.path is None:
            return 0
        try:
            return int(json.loads(self.path.read_text())["epoch"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0  # none yet, or not ours: the nonce of this start still fences off older leases

    def raise_it(self) -> int:
        """The next epoch, on disk before it is granted."""
        self.value += 1
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_suffix(".part")
            with part.open("w") as stream:
                stream.write(json.dumps({"epoch": self.value}))
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(self.path)
        return self.value


class GatewayCore:
    """State of the enforcer. Every method is told `now_s` on the gateway's own clock."""

    def __init__(self, site: Site, epochs: EpochFile, nonce: str | None = None, proof: ProofTest | None = None):
        self.proof = proof
        self._table = site.file.gateway
        self._points: dict[str, Point] = {
            site.table.points[i].id: site.table.points[i] for k, i in enumerate(site.u_point) if i >= 0 and site.accepted[k]
        }
        self._ranges = {p.id: self.range_of(self._table, p) for p in self._points.values()}
        self._epochs = epochs
        epochs.raise_it()
        self.nonce = nonce or secrets.token_hex(4)
        self.holder = self.holder_nonce = ""
        self.heard_s = -math.inf
        self.seq = -1
        self.lease_until_s = -math.inf
        self.lease_mode = ""
        self.applied: dict[str, float] = {}
        self._applied_s = -math.inf
        self._bms_seq = 0
        self._bms_tick = lease.BmsTick(-1.0, "")
        self._bms_heard_s = -math.inf
        self.hand = False
        self.now_s = -math.inf
        self.rejects: dict[str, int] = {}
        self.accepted = 0
        self.can_write: Callable[[Iterable[str]], bool] = lambda _names: True
        """Whether what stands behind the gateway would take these setpoints; a lease that is not written is refused."""

    @staticmethod
    def range_of(table: GatewayTable, point: Point) -> tuple[float, float]:
        """Allowed range in internal units: this file's own list where it has one, else the point's."""
        suffix = {"chw_dp_sp": "pa", "fan_speed_sp": "ratio", "cw_flow_sp": "ratio"}.get(point.role, "c")
        low = getattr(table, f"{point.role}_min_{suffix}", point.low)
        high = getattr(table, f"{point.role}_max_{suffix}", point.high)
        return max(float(low), point.low), min(float(high), point.high)

    @property
    def leased(self) -> bool:
        """Whether setpoints are being passed on now."""
        return self.now_s <= self.lease_until_s and bool(self.applied) and not self.hand

    def tick(self, now_s: float) -> list[Out]:
        """Advance the clock: heartbeat to the controller, and to the BMS while a lease is valid."""
        if now_s < self.now_s:
            self._forget()  # a clock that runs backwards is another run: nothing from before may live on
        self.now_s = now_s
        if self._bms_tick.nonce and self._bms_heard_s == -math.inf:
            self._bms_heard_s = now_s  # it was heard before this clock had begun
        if self.bms_silent:
            self._forget()
        if not self.leased and self.applied:
            self._forget()
        if self.proof is not None and self.proof.tick(now_s, self.leased):
            self._forget()
        out = [self._tick_message()]
        if self.leased and now_s - self._applied_s >= TICK_S - 1e-6:
            out.append(self._bms_message())
        return out

    def _forget(self) -> None:
        self.applied = {}
        self.lease_until_s = self._applied_s = -math.inf

    def _tick_message(self) -> Out:
        message = lease.GatewayTick(self.now_s, self.nonce, self._epochs.value, self.holder, not self.leased, self.hand)
        return Out("gw_tick", lease.encode_gateway_tick(message))

    def _bms_message(self) -> Out:
        self._bms_seq += 1
        wire = {name: round(self._points[name].encode(value), 6) for name, value in self.applied.items()}
        # The second lease never outlives the first: from the controller's last word to the BMS's own control is one TTL.
        ttl_s = max(min(self._table.bms_ttl_s, self.lease_until_s - self.now_s), 0.0)
        message = lease.BmsLease(self.nonce, self._bms_seq, ttl_s, wire, self.now_s, *self._bms_tick)
        return Out("bms", lease.encode_bms_lease(message))

    def bms_tick(self, raw: bytes, retained: bool) -> None:
        """The BMS's own clock, newest wins; a new nonce is a new start of it."""
        try:
            if retained:
                raise Rejected("retained")
            m = lease.decode_bms_tick(raw)
            if m.nonce == self._bms_tick.nonce and m.t_s < self._bms_tick.t_s:
                raise Rejected("old")
        except Rejected as rejected:
            self._count(f"bms_tick_{rejected.reason}")
            return
        if m != self._bms_tick:  # a clock that stands still is no sign of life
            self._bms_tick, self._bms_heard_s = m, self.now_s

    @property
    def bms_silent(self) -> bool:
        """Whether a BMS that has said its clock says it no more: nobody may be there to take the plant back."""
        return self._bms_tick.nonce != "" and not 0.0 <= self.now_s - self._bms_heard_s <= ECHO_MAX_S

    def claim(self, raw: bytes, retained: bool) -> list[Out]:
        """A controller asks for the epoch; the holder must have been silent for a while, or be itself restarted."""
        try:
            if retained:
                raise Rejected("retained")
            m = lease.decode_claim(raw)
            if not m.instance:
                raise Rejected("instance")
        except Rejected as rejected:
            self._count(f"claim_{rejected.reason}")
            return []
        if (m.instance, m.nonce) == (self.holder, self.holder_nonce):
            return [self._tick_message()]
        if self.holder not in ("", m.instance) and self.now_s - self.heard_s <= STANDBY_SILENCE_S:
            return []
        self._epochs.raise_it()
        self.holder, self.holder_nonce = m.instance, m.nonce
        self.seq, self.heard_s = -1, self.now_s
        return [self._tick_message()]

    def setpoints(self, raw: bytes, retained: bool) -> tuple[list[Out], int]:
        """A lease: messages to publish, and the step it belongs to (-1 = none)."""
        m: lease.Setpoints | None = None
        try:
            m = lease.decode_setpoints(raw)
            self._admit(m, retained)
            applied = self._limited(m)
        except Rejected as rejected:
            self._count(rejected.reason)
            if m is None:
                return [], -1
            return [self._ack(m, rejected.reason)], m.k
        self.seq, self.heard_s = m.seq, self.now_s
        if self.proof is not None and m.sp:
            self.proof.accepted(self.now_s)
        if not m.sp:
            # An explicit none ends the lease at once; the BMS hears no more heartbeats.
            self._forget()
            return [self._ack(m, "")], m.k
        self.accepted += 1
        self.applied, self._applied_s, self.lease_mode = applied, self.now_s, m.mode
        self.lease_until_s = self.now_s + min(m.ttl_s, self._table.ttl_s)
        return [self._bms_message(), self._ack(m, "")], m.k

    def _admit(self, m: lease.Setpoints, retained: bool) -> None:
        """The rules of freshness and authority. Raises `Rejected`."""
        checks = (
            (not retained, "retained"),
            (m.gw_nonce == self.nonce, "nonce"),
            (m.epoch == self._epochs.value and self.holder != "", "epoch"),
            (m.seq > self.seq, "seq"),
            (0.0 <= self.now_s - m.gw_echo <= ECHO_MAX_S, "stale"),
            (not self.hand or not m.sp, "hand"),
            (not self.bms_silent or not m.sp, "bms_silent"),
            (not m.sp or self.can_write(m.sp), "unwritable"),
        )
        for ok, reason in checks:
            if not ok:
                raise Rejected(reason)
        if self.proof is not None and m.sp and (refusal := self.proof.refusal()):
            raise Rejected(refusal)

    def _limited(self, m: lease.Setpoints) -> dict[str, float]:
        """Internal values inside the limits (else the whole lease is refused), moved no faster than the own rates."""
        values: dict[str, float] = {}
        for name, wire in m.sp.items():
            point = self._points.get(name)
            if point is None:
                raise Rejected("unknown_setpoint")
            value = point.decode(wire)
            low, high = self._ranges[name]
            slack = 1e-6 * max(abs(low), abs(high), 1.0)
            if not low - slack <= value <= high + slack:
                raise Rejected("outside_limits")
            values[name] = self._paced(point, value)
        return values

    def _paced(self, point: Point, value: float) -> float:
        last = self.applied.get(point.id)
        if last is None or not self.leased:
            return value
        dt_s = max(self.now_s - self._applied_s, TICK_S)
        if point.role in TEMPERATURES:
            step = self._table.temperature_step_max_k_per_s * dt_s
        elif point.role == "fan_speed_sp":
            step = self._table.fan_step_max_ratio_per_s * dt_s
        elif point.role == "chw_dp_sp":
            step = self._table.dp_step_max_pa_per_s * dt_s
        else:
            return value
        return min(max(value, last - step), last + step)

    def _ack(self, m: lease.Setpoints, rejected: str) -> Out:
        mode = "hand" if self.hand else "remote" if self.leased else "local"
        wire = {name: round(self._points[name].encode(value), 6) for name, value in self.applied.items()}
        return Out("ack", lease.encode_ack(lease.Ack(m.epoch, m.seq, mode, wire, rejected, self.now_s)))

    def _count(self, reason: str) -> None:
        self.rejects[reason] = self.rejects.get(reason, 0) + 1

    def set_hand(self, hand: bool) -> None:
        """A person holds the plant at the BMS: the lease ends in this instant."""
        self.hand = hand
        if hand:
            self._forget()
