"""Signed bundles: what one site signs and another applies, and everything that must be refused with nothing changed."""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import ROOT, SITE

from coolctl import cli
from coolctl.bundle import FORMAT, Bundle, BundleError, open_sealed, seal
from coolctl.errors import EXIT_CHECK_FAILED, EXIT_CONFIG, EXIT_OK

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="openssh-client is not installed")
POLICY = ROOT / "models" / "default"


def keygen(key: Path) -> str:
    """A key pair; its public half as `allowed_signers` wants it."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


class Yard(NamedTuple):
    """A maker's key and an empty site, under one folder."""

    folder: Path
    key: Path
    trust: Path

    @property
    def policies(self) -> Path:
        return self.folder / "policies"

    @property
    def site(self) -> Path:
        return self.folder / "etc" / "hall1.toml"

    def make(self, serial: int, *more: str, edit: Callable[[str], str] = lambda text: text) -> Path:
        """A bundle of the shipped site, changed by `edit`, on the maker's machine."""
        source, out = self.folder / "maker.toml", self.folder / f"{serial}.bundle"
        source.write_text(edit(SITE.read_text(encoding="utf-8")), encoding="utf-8")
        words = ["bundle", "make", "--site", str(source), "--serial", str(serial), "--key", str(self.key), "--out", str(out)]
        assert cli.main([*words, *more]) == EXIT_OK
        return out

    def take(self, what: str, bundle: Path, *more: str) -> int:
        """`check` or `apply` at the site; the exit code."""
        words = ["bundle", what, str(bundle), "--site", str(self.site), "--trust", str(self.trust)]
        return cli.main([*words, "--policies", str(self.policies), *more])

    def left(self) -> dict[str, bytes]:
        """Everything that lies at the site."""
        places = (self.site.parent, self.policies)
        return {str(p): p.read_bytes() for place in places for p in sorted(place.rglob("*")) if p.is_file()}


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    made = Yard(tmp_path, tmp_path / "key", tmp_path / "allowed_signers")
    made.site.parent.mkdir()
    made.trust.write_text(f'ann@example.org namespaces="{FORMAT}" {keygen(made.key)}\n')
    return made


def own_policy(yard: Yard) -> Callable[[str], str]:
    return lambda text: text.replace('policy = "default"', f'policy = "{yard.policies / "ours"}"')


def refusal(yard: Yard, bundle: Path, capsys: pytest.CaptureFixture[str], code: int = EXIT_CHECK_FAILED) -> str:
    """What `check` and `apply` both say when they refuse it; nothing at the site may have changed."""
    before, said = yard.left(), []
    for what in ("check", "apply"):
        capsys.readouterr()
        assert yard.take(what, bundle) == code
        said.append(re.sub(r"coolctl-bundle-\w+", "", capsys.readouterr().err))  # the folder it was tried in
    assert said[0] == said[1] and yard.left() == before
    return said[0]


def test_a_bundle_brings_limits_and_policy_and_says_who_and_what(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    first = yard.make(1, "--policy", str(POLICY), edit=own_policy(yard))
    assert yard.take("apply", first) == EXIT_OK
    assert (yard.policies / "ours" / "policy.onnx").read_bytes() == (POLICY / "policy.onnx").read_bytes()
    yard.site.chmod(0o640)
    colder = yard.make(
        2,
        "--policy",
        str(POLICY),
        "--note",
        "colder",
        edit=lambda t: own_policy(yard)(t).replace("rack_inlet_limit_c = 26.0", "rack_inlet_limit_c = 25.0"),
    )
    assert yard.take("check", colder, "--json", str(yard.folder / "check.json")) == EXIT_OK
    said = json.loads((yard.folder / "check.json").read_text())
    assert (said["signer"], said["serial"], said["note"]) == ("ann@example.org", 2, "colder")
    changed = [line for line in said["changes"] if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert len(changed) == 2 and all("rack_inlet_limit_c" in line for line in changed)
    assert "rack_inlet_limit_c = 26.0" in yard.site.read_text()  # looking changes nothing
    assert yard.take("apply", colder) == EXIT_OK and "signed by ann@example.org" in capsys.readouterr().out
    assert "rack_inlet_limit_c = 25.0" in yard.site.read_text() and yard.site.stat().st_mode & 0o777 == 0o640
    assert "rack_inlet_limit_c = 26.0" in yard.site.with_suffix(".toml.before").read_text()
    assert not (yard.policies / "ours.before").exists()  # it is the same policy
    assert yard.take("apply", colder) == EXIT_OK  # the same once more, after a power cut say
    assert "rack_inlet_limit_c = 26.0" in yard.site.with_suffix(".toml.before").read_text()


def test_an_old_bundle_is_not_taken_for_a_new_one(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = yard.make(3), yard.make(4)
    assert yard.take("apply", new) == EXIT_OK
    assert "serial 3 is not newer than 4" in refusal(yard, old, capsys)
    again = yard.make(4, "--note", "another text under the same number")
    assert "serial 4 is not newer than 4" in refusal(yard, again, capsys)
    yard.site.with_suffix(".bundle.json").write_text("{}")
    assert "nothing says which bundles are old" in refusal(yard, yard.make(5), capsys)


def test_only_who_may_sign_for_this_purpose_does(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = yard.make(1)
    ours = yard.trust.read_text()
    keys = ours.split(" ", 2)[2]
    for text, why in (
        (f'bob@example.org namespaces="{FORMAT}" {keygen(yard.folder / "other")}\n', "signed by nobody who may"),
        (ours.replace(FORMAT, "git"), "not permitted for use in signature namespace"),
        (f'ann@example.org namespaces="{FORMAT}",valid-before="20200101" {keys}', "has expired"),
        ("", "signed by nobody who may"),
    ):
        yard.trust.write_text(text)
        assert why in refusal(yard, bundle, capsys)
    yard.trust.unlink()
    assert "no file that says who may sign" in refusal(yard, bundle, capsys)


def test_no_changed_byte_passes(yard: Yard) -> None:
    raw = yard.make(1).read_bytes()
    sound = open_sealed(raw, yard.trust)
    rng = random.Random(4)
    for _ in range(60):
        at = rng.randrange(len(raw))
        broken = raw[:at] + bytes([raw[at] ^ (1 << rng.randrange(8))]) + raw[at + 1 :]
        try:
            opened = open_sealed(broken, yard.trust)
        except BundleError:
            continue
        # Blanks of the signature's own armour carry nothing; what was signed is what is read.
        assert opened == sound and json.loads(broken)["signed"] == json.loads(raw)["signed"]
    for cut in (0, 1, len(raw) // 2, len(raw) - 1):
        with pytest.raises(BundleError):
            open_sealed(raw[:cut], yard.trust)


def signed(yard: Yard, change: Callable[[dict[str, Any]], None]) -> Path:
    """A bundle that was changed before it was signed: what a maker with another tool, or in bad faith, could bring."""
    content = json.loads(json.loads(yard.make(1).read_bytes())["signed"])
    change(content)
    text = yard.folder / "text"
    text.write_text(json.dumps(content))
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", str(yard.key), "-n", FORMAT, str(text)], check=True, capture_output=True
    )
    out = yard.folder / "strange.bundle"
    out.write_text(json.dumps({"signed": text.read_text(), "signature": text.with_suffix(".sig").read_text()}))
    text.with_suffix(".sig").unlink()
    return out


def file_named(name: str, raw: bytes = b"x") -> Callable[[dict[str, Any]], None]:
    return lambda content: content["files"].update({name: base64.b64encode(raw).decode()})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (file_named("../../etc/passwd"), "has no place in a bundle"),
        (file_named("/etc/coolctl/other.toml"), "has no place in a bundle"),
        (file_named("equipment/../../x.toml"), "has no place in a bundle"),
        (file_named("policy/policy.onnx"), "both files or none"),
        (file_named("site.toml", b"\0" * (1 << 20) + b"\0"), "larger than"),
        (lambda content: content["files"].update({"site.toml": "no base64!"}), "is not base64"),
        (lambda content: content["files"].pop("site.toml"), "needs a site file"),
        (lambda content: content.update(serial=0), "serial below 1"),
        (lambda content: content.update(serial=True), "wrong entries: serial"),
        (lambda content: content.update(version=2), "another version of coolctl"),
        (lambda content: content.update(more=1), "other entries"),
        (lambda content: content.update(site="hall2"), "made for 'hall2'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_signed_is_not_believed_blindly(
    yard: Yard, capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, Any]], None], why: str
) -> None:
    assert why in refusal(yard, signed(yard, change), capsys)


def test_a_site_file_that_is_wrong_is_refused_with_its_line(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    text = SITE.read_bytes().replace(b"racks = 32", b"racks = 0")
    assert "racks" in refusal(yard, signed(yard, file_named("site.toml", text)), capsys, EXIT_CONFIG)


def test_a_policy_that_is_not_its_passports_is_refused(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    ours = own_policy(yard)(SITE.read_text(encoding="utf-8")).encode()

    def swap(content: dict[str, Any]) -> None:
        file_named("site.toml", ours)(content)
        file_named("policy/passport.json", (POLICY / "passport.json").read_bytes())(content)
        file_named("policy/policy.onnx", (POLICY / "policy.onnx").read_bytes()[:-1] + b"\0")(content)

    assert "its policy is refused" in refusal(yard, signed(yard, swap), capsys)
    elsewhere = own_policy(yard._replace(folder=yard.folder / "etc"))
    bundle = yard.make(2, "--policy", str(POLICY), edit=elsewhere)
    assert "not in a folder of" in refusal(yard, bundle, capsys)


def test_what_cannot_be_written_is_said_and_can_be_applied_again(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = yard.make(1, "--policy", str(POLICY), edit=own_policy(yard))
    yard.policies.write_text("in the way")
    assert yard.take("apply", bundle) == EXIT_CHECK_FAILED
    assert "apply it again" in capsys.readouterr().err and not yard.site.exists()
    yard.policies.unlink()
    assert yard.take("apply", bundle) == EXIT_OK and yard.site.is_file()


def test_a_text_that_no_encoding_has_is_refused(yard: Yard) -> None:
    for wrong in ({"signed": "\ud800", "signature": ""}, {"signed": "", "signature": "ä"}):
        with pytest.raises(BundleError, match="is not a bundle"):
            open_sealed(json.dumps(wrong).encode(), yard.trust)


def test_another_sites_file_is_not_replaced(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = yard.make(1)
    yard.site.write_text(SITE.read_text(encoding="utf-8").replace('name = "hall1mw"', 'name = "hall9"', 1))
    assert "is another site" in refusal(yard, bundle, capsys)
    yard.site.write_text("what is this")  # a file that nobody can read any more is mended
    assert yard.take("apply", bundle) == EXIT_OK


def test_records_of_a_sites_own_travel_with_it(yard: Yard) -> None:
    own = yard.folder / "equipment"
    own.mkdir()
    shipped = next(p for p in (SITE.parent.parent / "equipment").glob("*.toml") if f'"{p.stem}"' in SITE.read_text())
    (own / "ours.toml").write_text(shipped.read_text())
    bundle = yard.make(1, edit=lambda text: text.replace(f'"{shipped.stem}"', '"ours"'))
    assert yard.take("apply", bundle) == EXIT_OK
    assert (yard.site.parent / "equipment" / "ours.toml").read_bytes() == shipped.read_bytes()
    assert cli.main(["check-config", str(yard.site), "--json", str(yard.folder / "x.json")]) == EXIT_OK


def test_a_key_that_cannot_sign_is_said(yard: Yard) -> None:
    with pytest.raises(BundleError, match="signing failed"):
        seal(Bundle("hall1mw", 1, "", "", "", {"site.toml": b""}), yard.folder / "no key")
