"""The fault matrix, tier by tier: `P` here, everything with `make faults`."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults import controller_rows, plant_rows, sensor_rows, transport_rows
from faults.rows import Row
from faults.scenes import Stage

from coolctl.site import Site

ROWS: tuple[Row, ...] = (*plant_rows.ROWS, *sensor_rows.ROWS, *transport_rows.ROWS, *controller_rows.ROWS)


@pytest.mark.parametrize("row", [pytest.param(r, id=r.id) for r in ROWS if r.run])
def test_fault(row: Row, site: Site, policy: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert row.run is not None
    print(row.run(Stage(site, policy, tmp_path, monkeypatch, 1)))
