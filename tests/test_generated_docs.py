"""The pages that are written from the code say what the code says."""

from __future__ import annotations

import pytest

from tools import docs


def test_pages_are_what_make_docs_writes(capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main(["--check"]) == 0, capsys.readouterr().out


def test_a_stale_page_is_noticed_and_rewritten(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(docs, "DOCS", tmp_path)
    (tmp_path / "CONFIG.md").write_text("old")
    assert docs.main(["--check"]) == 1
    assert docs.main([]) == 0 and docs.main(["--check"]) == 0


def test_every_table_and_key_of_the_site_file_is_on_the_page() -> None:
    page = docs.config()
    for heading in ("## [limits]", "## [[points]]", "### [plant.rules]", "## chiller", "# Units on the wire"):
        assert heading in page
    assert "| `rack_inlet_limit_c` | number | ≥ -40, ≤ 80 | `26` |" in page
    assert "| `ttl_s` | number | ≥ 5, ≤ 60 | `15` |" in page
