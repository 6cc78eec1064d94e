"""The ids of the bench: which module measures each, what it is about, and how long it may take."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One id: module, title, time limit [s]."""

    module: str
    title: str
    limit_s: float


ENTRIES = {
    "P1": Entry("model", "plant step against C and NumPy", 400.0),
    "P2": Entry("rollout", "roll-out of candidates against C", 180.0),
    "P3": Entry("rollout", "candidates a second, threads", 180.0),
    "P4": Entry("inference", "policy inference", 200.0),
    "P5": Entry("wire", "one message a point, against mosquitto_sub", 300.0),
    "P6": Entry("wire", "batches, and 5,000 messages a second", 240.0),
    "P7": Entry("latency", "deadline to setpoint received, under load", 400.0),
    "P8": Entry("tick", "a tick's compute time", 900.0),
    "P9": Entry("expert", "expert, policy chain, growth with plant size", 400.0),
    "P10": Entry("metrics", "metrics of 5,000 series", 180.0),
    "P11": Entry("recording", "recorder against Parquet", 300.0),
    "P12": Entry("recording", "kill -9 while recording", 300.0),
    "P13": Entry("replaying", "replay against real time", 400.0),
    "P14": Entry("plant", "simulated plant, EnergyPlus, a year in closed loop", 600.0),
    "P15": Entry("start", "start, memory, compilation", 900.0),
    "P16": Entry("train", "training from nothing", 600.0),
}
MODULES = {id: entry.module for id, entry in ENTRIES.items()}
