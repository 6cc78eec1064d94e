"""What electricity costs and emits at a moment: the site's tariff bands, and the points that carry them into a tick.

A tick knows no calendar, so that a recording replays to the same bits. The price is therefore a point like any other:
the site's own where it has one, else one that the daemon fills in from the bands and the clock on the wall.
"""

from __future__ import annotations

import datetime
import zoneinfo
from typing import TYPE_CHECKING

from coolctl.points import ROLES, Point, Quality, Sample
from coolctl.site_schema import TariffTable

if TYPE_CHECKING:
    from coolctl.site import Site

LEAD_S = 3600.0  # how far `energy_price_ahead` looks: a loop takes about this long to be cooled without haste
PRICE_AGE_MAX_S = 300.0
PRICE_ROLES = ("energy_price", "energy_price_ahead")


def price_per_kwh(tariff: TariffTable, month: int, hour: float) -> float:
    """Price of a kilowatt-hour in the tariff's currency at `hour` (0 … 24, local) of a day in `month` (1 … 12)."""
    for band in tariff.bands:
        if month in band.months and band.from_h <= hour < band.to_h:
            return band.price_per_kwh
    return tariff.price_per_kwh


def price_points(tariff: TariffTable, telemetry_topic: str, taken: set[str]) -> list[Point]:
    """The price points of a site with tariff bands, unless its own rows bring a price (`taken`: roles that they have)."""
    if not tariff.bands or taken & set(PRICE_ROLES):
        return []
    low, high = ROLES["energy_price"].low, ROLES["energy_price"].high
    return [Point(r, r, "plant", "1/kWh", telemetry_topic, "json", r, PRICE_AGE_MAX_S, low, high) for r in PRICE_ROLES]


class PriceClock:
    """Fills the price points of a real site from its bands; silent where the plant brings its own price or is simulated."""

    def __init__(self, site: Site):
        rows = {row.role for row in site.file.points}
        mine = bool(site.file.tariff.bands) and not rows & set(PRICE_ROLES) and not site.file.site.simulated
        self._i = [site.table.one(r) for r in PRICE_ROLES] if mine else []
        self._tariff, self._zone = site.file.tariff, zoneinfo.ZoneInfo(site.file.site.timezone)

    def samples(self, unix_s: float) -> list[Sample]:
        """The prices at `unix_s` [s since 1970] and a lead time later."""
        found = []
        for i, ahead_s in zip(self._i, (0.0, LEAD_S), strict=False):
            at = datetime.datetime.fromtimestamp(unix_s + ahead_s, self._zone)
            price = price_per_kwh(self._tariff, at.month, at.hour + at.minute / 60.0 + at.second / 3600.0)
            found.append(Sample(i, price, float("nan"), Quality.GOOD))
        return found
