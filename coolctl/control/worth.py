"""What the objective counts beside energy: make-up water, carbon and money, brought to watts of electric power.

In steady state a price on electricity scales the whole bill and moves no optimum; what moves it is the worth of water
beside that of energy. Over time it moves when energy is used: water and air are cooled ahead of a dear hour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coolctl.control.estimate import Estimate

if TYPE_CHECKING:
    from coolctl.site import Site

J_PER_KWH, KG_PER_M3 = 3.6e6, 998.0
ENERGY_FLOOR_RATIO = 0.05  # energy that is free, or paid for being used, is still not wasted


class Worth:
    """The site's weights, under the price and the carbon factor of the moment."""

    def __init__(self, site: Site):
        f = site.file
        self._weights, self._tariff, self._carbon = f.objective, f.tariff, f.carbon
        self._water = self._weights.water_weight + self._weights.price_weight * self._tariff.water_price_per_m3
        self._usual = self._energy(self._tariff.price_per_kwh, self._carbon.factor_kg_per_kwh)

    def _energy(self, price_per_kwh: float, carbon_kg_per_kwh: float) -> float:
        o = self._weights
        return o.energy_weight + o.price_weight * price_per_kwh + o.carbon_weight * carbon_kg_per_kwh

    def _energy_at(self, est: Estimate, price_role: str) -> float:
        """Worth of a kilowatt-hour; what is not known is taken from the site file."""
        price, carbon = est.plant[price_role], est.plant["carbon_factor"]
        price = price if price == price else self._tariff.price_per_kwh
        carbon = carbon if carbon == carbon else self._carbon.factor_kg_per_kwh
        return max(self._energy(price, carbon), ENERGY_FLOOR_RATIO * self._usual)

    def makeup_wkgs(self, est: Estimate) -> float:
        """Electric power [W] that a kilogram of make-up water a second is worth now."""
        return self._water / self._energy_at(est, "energy_price") * J_PER_KWH / KG_PER_M3

    def ahead_ratio(self, est: Estimate) -> float:
        """Worth of energy a lead time from now over its worth now; 1 where no price is foreseen."""
        if est.plant["energy_price_ahead"] != est.plant["energy_price_ahead"]:
            return 1.0
        return self._energy_at(est, "energy_price_ahead") / self._energy_at(est, "energy_price")
