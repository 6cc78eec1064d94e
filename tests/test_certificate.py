"""The end of a certificate, read without a library of cryptography, held against one."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

import pytest
import trustme

from coolctl import doctor
from coolctl.edge.certificate import ends_s
from coolctl.edge.mqtt import MqttSettings

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def issued(authority: trustme.CA, folder: Path, until: dt.datetime) -> Path:
    path = folder / "own.pem"
    made = authority.issue_cert(
        "coolctl-daemon.test", common_name="coolctl-daemon", not_after=until, not_before=NOW - dt.timedelta(days=900)
    )
    path.write_bytes(b"text before\n" + b"".join(blob.bytes() for blob in made.cert_chain_pems))
    return path


# From 2050 on the date has another form (RFC 5280 §4.1.2.5).
@pytest.mark.parametrize(
    "until", [NOW - dt.timedelta(days=1), NOW + dt.timedelta(days=3), dt.datetime(2051, 2, 28, 23, 59, 59, tzinfo=dt.UTC)]
)
def test_the_end_is_the_one_it_was_issued_with(authority: trustme.CA, tmp_path: Path, until: dt.datetime) -> None:
    assert ends_s(str(issued(authority, tmp_path, until))) == until.timestamp()


def test_what_is_no_certificate_has_no_end(authority: trustme.CA, tmp_path: Path) -> None:
    assert ends_s("") == ends_s(str(tmp_path / "none")) == ends_s(str(tmp_path)) == 0.0
    path = issued(authority, tmp_path, NOW)
    text, rng = path.read_text(), random.Random(1)
    for _ in range(300):  # whatever stands in the file, the answer is a number
        lines = text.splitlines()
        for _ in range(rng.randint(1, 4)):
            k = rng.randrange(2, 6)
            lines[k] = "".join(rng.choice("AQgw/+=zM") if rng.random() < 0.1 else c for c in lines[k])
        path.write_text("\n".join(lines))
        assert isinstance(ends_s(str(path)), float)


@pytest.mark.parametrize(("days", "verdict"), [(-1, "FAULT"), (10, "look"), (100, "good")])
def test_doctor_says_how_long_ours_lasts(authority: trustme.CA, tmp_path: Path, days: int, verdict: str) -> None:
    path = issued(authority, tmp_path, NOW + dt.timedelta(days=days, hours=1))
    (found,) = doctor.own_certificate(MqttSettings("h", 1, "x", tls=True, cert_file=str(path)))
    assert found.verdict == verdict and bool(found.do) == (verdict != "good")
    assert verdict == "FAULT" or f"{days} days" in found.saw
    assert not list(doctor.own_certificate(MqttSettings("h", 1, "x", tls=True)))
