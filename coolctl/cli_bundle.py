"""`coolctl bundle`: site file, limits and policy in one signed file, carried to a site that no link leads to.

`make` signs, `check` says who signed, what is inside and what it would change, `apply` puts it in place of what is there.
The daemon goes on with what it has until it is reloaded or restarted.
"""

from __future__ import annotations

import argparse
import datetime
import difflib
import json
import os
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import coolctl
from coolctl.bundle import EQUIPMENT, POLICY_FILES, SITE_FILE, Bundle, BundleError, Opened, open_sealed, seal
from coolctl.cli_args import emit_json, output
from coolctl.cli_verify import verify
from coolctl.edge.onnx_policy import resolve
from coolctl.errors import EXIT_OK, ConfigError
from coolctl.site import Site, load_site, record_texts

SHIPPED_POLICIES = ("default", "none")
POLICIES, TRUSTED = "/etc/coolctl/policies", "/etc/coolctl/allowed_signers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", required=True, metavar="make|check|apply")
    make = verbs.add_parser("make", help="sign a site file and its policy")
    make.add_argument("--site", required=True, metavar="FILE")
    make.add_argument("--policy", default="", metavar="FOLDER", help="the policy, unless the site takes the shipped one or none")
    make.add_argument("--serial", required=True, type=int, metavar="N", help="higher than any before it for this site")
    make.add_argument("--key", required=True, metavar="FILE", help="private key or token's handle, as for `ssh-keygen -Y sign`")
    make.add_argument("--note", default="", help="what changed, for whoever applies it")
    make.add_argument("--out", required=True, type=output, metavar="FILE")
    for name, text in (("check", "who signed it, what is in it, what it would change"), ("apply", "put it in place")):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("bundle", metavar="BUNDLE")
        verb.add_argument("--site", required=True, metavar="FILE", help="the site file that it replaces")
        verb.add_argument("--trust", default=TRUSTED, metavar="FILE", help=f"who may sign: allowed_signers (default {TRUSTED})")
        verb.add_argument("--policies", default=POLICIES, metavar="FOLDER", help=f"where policies lie (default {POLICIES})")
        verb.add_argument("--json", type=output, metavar="FILE|-")


def main(args: argparse.Namespace) -> int:
    if args.what == "make":
        return make_bundle(args)
    opened = open_sealed(_read(Path(args.bundle)), Path(args.trust))
    place = Place(Path(args.site), Path(args.policies))
    found = place.look(opened)
    if args.what == "apply":
        try:
            place.apply(opened)
        except OSError as error:
            raise BundleError(f"{error.filename}: {error.strerror}; once that is mended, apply it again") from error
    if emit_json(found, args.json):
        _print(found, args.what == "apply", place)
    return EXIT_OK


def make_bundle(args: argparse.Namespace) -> int:
    """Check, then sign: what a site would refuse is not signed either."""
    site_path = Path(args.site)
    site = load_site(site_path)
    files = {SITE_FILE: _read(site_path)}
    files |= {f"equipment/{name}.toml": text.encode("utf-8") for name, text in record_texts(site_path).items()}
    wanted = site.file.control.policy
    if bool(args.policy) != (wanted not in SHIPPED_POLICIES):
        raise BundleError(f"{site_path}: `policy = {wanted!r}` {'needs' if not args.policy else 'goes without'} --policy FOLDER")
    if args.policy:
        _verified(args.policy, site)
        files |= {name: _read(resolve(args.policy) / Path(name).name) for name in POLICY_FILES}
    made_utc = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    bundle = Bundle(site.name, args.serial, made_utc, f"coolctl {coolctl.__version__}", args.note, files)
    if bundle.serial < 1:
        raise BundleError("--serial begins at 1")
    Path(args.out).write_bytes(seal(bundle, Path(args.key)))
    print(f"{args.out}: {site.name}, serial {args.serial}, {', '.join(sorted(files))}")
    return EXIT_OK


class Place:
    """Where a site's file, its policy and its equipment records lie, and what was applied there last."""

    def __init__(self, site: Path, policies: Path):
        self.site, self.policies = site.absolute(), policies.absolute()
        self.applied = self.site.with_suffix(".bundle.json")

    def look(self, opened: Opened) -> dict[str, Any]:
        """Everything that must hold before `apply`, tried in a folder of its own; what would change, as a diff."""
        bundle = opened.bundle
        last = self._last()
        if bundle.serial < last["serial"] or (bundle.serial == last["serial"] and opened.sha256 != last["sha256"]):
            raise BundleError(f"serial {bundle.serial} is not newer than {last['serial']}, which was applied here")
        with tempfile.TemporaryDirectory(prefix="coolctl-bundle-") as folder:
            for name, raw in bundle.files.items():
                (Path(folder) / name).parent.mkdir(exist_ok=True)
                (Path(folder) / name).write_bytes(raw)
            site = load_site(Path(folder) / SITE_FILE)
            if site.name != bundle.site:
                raise BundleError(f"made for {bundle.site!r}, but its site file is of {site.name!r}")
            self._check_policy(Path(folder) / "policy", site)
        if self._name_here() not in ("", site.name):
            raise BundleError(f"{self.site} is another site than {site.name!r}")
        before = self.site.read_text(encoding="utf-8") if self.site.exists() else ""
        after = bundle.files[SITE_FILE].decode("utf-8")
        changes = difflib.unified_diff(before.splitlines(), after.splitlines(), str(self.site), "bundle", lineterm="", n=0)
        return {
            "signer": opened.signer, "site": bundle.site, "serial": bundle.serial, "made_utc": bundle.made_utc,
            "made_with": bundle.made_with, "note": bundle.note, "files": sorted(bundle.files), "changes": list(changes),
            "policy": site.file.control.policy, "config_hash": site.config_hash,
        }  # fmt: skip

    def _name_here(self) -> str:
        """The site that is there; empty where there is none, or none that can be read: a bundle may mend it."""
        try:
            return load_site(self.site).name if self.site.exists() else ""
        except ConfigError:
            return ""

    def _check_policy(self, folder: Path, site: Site) -> None:
        wanted = site.file.control.policy
        if folder.is_dir() != (wanted not in SHIPPED_POLICIES):
            raise BundleError(f"its site file says `policy = {wanted!r}`, the bundle has {'one' if folder.is_dir() else 'none'}")
        if folder.is_dir():
            if Path(wanted).parent != self.policies or not Path(wanted).name:
                raise BundleError(f"its policy would lie in {wanted}, not in a folder of {self.policies}")
            _verified(folder, site)

    def apply(self, opened: Opened) -> None:
        """Put everything in place, the site file last, what was there kept as `….before`. Raises `OSError` where a file cannot
        be written: what lies there then is whole, old or new, and applying it again goes on."""
        files = opened.bundle.files
        for name, raw in files.items():
            if EQUIPMENT.fullmatch(name):
                (self.site.parent / "equipment").mkdir(exist_ok=True)
                _replace(self.site.parent / name, raw, keep=True)
        if POLICY_FILES[0] in files:
            self._put_policy(Path(_policy_of(files[SITE_FILE])), {Path(n).name: files[n] for n in POLICY_FILES})
        _replace(self.site, files[SITE_FILE], keep=True)
        now_utc = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        known = {"serial": opened.bundle.serial, "sha256": opened.sha256, "signer": opened.signer, "applied_utc": now_utc}
        _replace(self.applied, json.dumps(known, indent=1).encode())

    def _put_policy(self, folder: Path, files: dict[str, bytes]) -> None:
        if folder.is_dir() and all((folder / n).is_file() and (folder / n).read_bytes() == raw for n, raw in files.items()):
            return  # the same bundle once more
        self.policies.mkdir(parents=True, exist_ok=True)
        new, before = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".before")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        for name, raw in files.items():
            _replace(new / name, raw)
        if folder.exists():
            shutil.rmtree(before, ignore_errors=True)
            folder.rename(before)
        new.rename(folder)

    def _last(self) -> dict[str, Any]:
        if not self.applied.exists():
            return {"serial": 0, "sha256": ""}
        try:
            found: dict[str, Any] = json.loads(_read(self.applied))
            return {"serial": int(found["serial"]), "sha256": str(found["sha256"])}
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{self.applied}: cannot be read, so nothing says which bundles are old: {error}") from error


def _policy_of(site_text: bytes) -> str:
    return str(tomllib.loads(site_text.decode("utf-8"))["control"]["policy"])


def _verified(policy: str | Path, site: Site) -> None:
    failed = [f"{c.name}: {c.saw}" for c in verify(str(policy), site) if not c.ok]
    if failed:
        raise BundleError("its policy is refused: " + "; ".join(failed))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error


def _replace(path: Path, raw: bytes, keep: bool = False) -> None:
    """Whole or not at all, with the owner and mode of what was there; with `keep` that stays beside it."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as stream:
        stream.write(raw)
        stream.flush()
        os.fsync(stream.fileno())
    if path.exists():
        shutil.copymode(path, part)
        there = path.stat()
        os.chown(part, there.st_uid, there.st_gid)
        # The same bundle once more must not take the place of what was there before it.
        if keep and path.read_bytes() != raw:
            shutil.copy2(path, path.with_name(path.name + ".before"))
    part.replace(path)


def _print(found: dict[str, Any], applied: bool, place: Place) -> None:
    print(f"signed by {found['signer']}; site {found['site']}, serial {found['serial']}, made {found['made_utc']}")
    if found["note"]:
        print(f"note: {found['note']}")
    print("contains " + ", ".join(found["files"]))
    print("\n".join(found["changes"]) or "the site file is the same")
    if applied:
        name = place.site.stem
        print(
            f"in place; `systemctl restart coolctl@{name}` for a policy, else `reload`; the gateway takes its limits at a restart"
        )
