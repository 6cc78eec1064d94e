"""How far a grant reaches: by hours, by the model's error, by broken invariants, by what is saved."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import SITE
from virtual import VirtualStack

from coolctl.control.decision import TERMS
from coolctl.invariants import Violation
from coolctl.promotion import Evidence
from coolctl.site import load_site
from coolctl.site_schema import PromotionTable

TABLE = PromotionTable(shadow_h=1.0, bounded_h=2.0)


def seen(evidence: Evidence, mode: str, hours: float, *, measured: float = 80.0, model: float = 82.0, baseline: float = 100.0, broken: int = 0) -> None:  # fmt: skip
    values = np.full(len(TERMS), np.nan)
    for name, value in (("measured_w", measured), ("model_w", model), ("baseline_w", baseline)):
        values[TERMS.index(name)] = value
    for _ in range(round(hours * 60)):
        evidence.add(SimpleNamespace(mode=mode, term_values=values), 60.0, broken)  # type: ignore[arg-type]


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    return Evidence(tmp_path / "evidence.json", TABLE, "site policy")


def test_grant_climbs_by_hours_and_is_a_ceiling(evidence: Evidence) -> None:
    assert evidence.ceiling("auto")[0] == "shadow" and "0.0 of 1 h" in evidence.ceiling("auto")[1]
    for granted in ("monitor", "shadow", "advise", "fallback", "release", "emergency"):
        assert evidence.ceiling(granted) == (granted, "")
    seen(evidence, "shadow", 1.1)
    assert evidence.ceiling("auto")[0] == "bounded" and evidence.ceiling("bounded")[0] == "bounded"
    seen(evidence, "bounded", 2.1)
    assert evidence.ceiling("auto")[0] == "auto" and evidence.ceiling("bounded")[0] == "bounded"
    assert evidence.saving == pytest.approx(0.2) and evidence.model_error == pytest.approx((0.025, 0.025))


def test_broken_invariant_takes_the_bounded_hours_back(evidence: Evidence) -> None:
    seen(evidence, "bounded", 3.0)
    seen(evidence, "bounded", 0.05, broken=1)
    assert evidence.ceiling("auto")[0] == "bounded"


def test_model_off_the_meters_takes_everything_back_and_comes_back(evidence: Evidence) -> None:
    seen(evidence, "bounded", 3.0)
    seen(evidence, "auto", 48.0, model=120.0)
    mode, why = evidence.ceiling("auto")
    assert mode == "fallback" and "off the meters" in why
    seen(evidence, "fallback", 900.0)
    assert evidence.ceiling("auto")[0] == "auto"


def test_no_saving_no_auto(evidence: Evidence) -> None:
    seen(evidence, "bounded", 3.0, measured=101.0, model=101.0)
    assert evidence.ceiling("auto")[0] == "bounded" and "no saving" in evidence.ceiling("auto")[1]


def test_nothing_measured_is_no_evidence(evidence: Evidence) -> None:
    seen(evidence, "bounded", 5.0, measured=float("nan"))
    assert evidence.ceiling("auto")[0] == "fallback"


@pytest.mark.parametrize(
    "content", ["", "[]", '{"identity": "another", "shadow_s": 1e9}', '{"identity": "site policy", "shadow_s": true}']
)
def test_file_that_is_not_ours_is_no_evidence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "evidence.json"
    path.write_text(content)
    assert Evidence(path, TABLE, "site policy").ceiling("auto")[0] == "shadow"


def test_evidence_outlives_a_restart(evidence: Evidence, tmp_path: Path) -> None:
    seen(evidence, "shadow", 1.1)
    seen(evidence, "bounded", 2.1)
    assert evidence.write()
    assert Evidence(tmp_path / "evidence.json", TABLE, "site policy").ceiling("auto")[0] == "auto"


def test_daemon_climbs_by_itself(edited_site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    text = "[promotion]\nrequired = true\nshadow_h = 0.15\nbounded_h = 0.1\ncv_max = 0.5\nnmbe_max = 0.4\n\n[weather]"
    site = load_site(edited_site(("[weather]", text)))
    stack = VirtualStack(monkeypatch, site, tmp_path / "state").run(2800)
    modes = [(m, g) for _t, m, g in stack.one.modes]
    grants = list(dict.fromkeys(g for _m, g in modes))
    assert grants == ["shadow", "bounded", "auto"], modes
    assert modes[-1] == ("auto", "auto") and not stack.violations()
    assert site.file.promotion.required and SITE.exists()


def test_broken_invariant_is_counted_and_said(site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    stack = VirtualStack(monkeypatch, site, tmp_path).run(30)
    daemon = stack.one.daemon
    said: list[str] = []
    publish = daemon.link.publish
    monkeypatch.setattr(daemon.link, "publish", lambda d, lines, held: (said.extend(lines), publish(d, lines, held)))
    monkeypatch.setattr(daemon.audit.watch, "look", lambda record: [Violation("I-03", "chwst_sp jumped")])
    stack.run(2)
    assert daemon.violations["I-03"] == 2 and said[0] == "broken invariant I-03: chwst_sp jumped"
