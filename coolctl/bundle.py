"""Signed bundles: a site file with its limits and a policy in one file, for sites that no link leads to.

A bundle is JSON: the text that was signed, and an OpenSSH signature over exactly its bytes (`ssh-keygen -Y`, namespace
`coolctl-bundle`). Who may sign for a site stands in a file of the site's own, in the form `allowed_signers` of
ssh-keygen(1), where keys can also expire. Nothing of the text is read before its signature holds, and no name in it is a
path: what may be in it is a closed list. Keys stay with OpenSSH, on hardware tokens too; the site holds no secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from coolctl.errors import EXIT_CHECK_FAILED, CoolctlError

FORMAT, VERSION = "coolctl-bundle", 1
FILE_MAX_BYTES, SEALED_MAX_BYTES = 1 << 20, 8 << 20
SITE_FILE, POLICY_FILES = "site.toml", ("policy/policy.onnx", "policy/passport.json")
EQUIPMENT = re.compile(r"equipment/[a-z0-9][a-z0-9_-]{0,63}\.toml")
PROGRAM, SIGNING_MAX_S = "ssh-keygen", 120.0  # a token waits to be touched


class BundleError(CoolctlError):
    """A bundle is not what it should be, or cannot be signed, checked or put in place; the message says which."""

    exit_code = EXIT_CHECK_FAILED


class Bundle(NamedTuple):
    """What is signed. `serial` only ever rises at a site: an old bundle is not taken for a new one."""

    site: str
    serial: int
    made_utc: str
    made_with: str
    note: str
    files: dict[str, bytes]


class Opened(NamedTuple):
    """A bundle whose signature held: who signed it, and the hash of the signed text."""

    bundle: Bundle
    signer: str
    sha256: str


def seal(bundle: Bundle, key: Path) -> bytes:
    """The file's bytes, signed with the private key (or token's key handle) `key`. Raises `BundleError`."""
    for name, raw in bundle.files.items():
        _check_file(name, raw)
    content = bundle._asdict() | {"files": {n: base64.b64encode(raw).decode() for n, raw in sorted(bundle.files.items())}}
    text = json.dumps({"format": FORMAT, "version": VERSION, **content}, indent=1, sort_keys=True)
    with tempfile.TemporaryDirectory(prefix="coolctl-bundle-") as folder:
        message = Path(folder) / "signed"
        message.write_text(text, encoding="utf-8")
        _ssh_keygen(["-Y", "sign", "-f", str(key), "-n", FORMAT, str(message)], b"", "signing failed")
        signature = message.with_suffix(".sig").read_text(encoding="ascii")
    return json.dumps({"signed": text, "signature": signature}).encode("utf-8")


def open_sealed(raw: bytes, allowed_signers: Path) -> Opened:
    """The bundle in `raw`, where one of `allowed_signers` has signed it. Raises `BundleError` saying what is wrong."""
    signed, signature = _sealed(raw)
    if not allowed_signers.is_file():
        raise BundleError(f"{allowed_signers}: no file that says who may sign (allowed_signers of ssh-keygen(1))")
    with tempfile.TemporaryDirectory(prefix="coolctl-bundle-") as folder:
        path = Path(folder) / "signature"
        path.write_bytes(signature)
        who = ["-f", str(allowed_signers), "-s", str(path)]
        found = _ssh_keygen(["-Y", "find-principals", *who], signed, "signed by nobody who may")
        signer = found.decode("utf-8", "replace").splitlines()[0].strip()
        _ssh_keygen(["-Y", "verify", *who, "-I", signer, "-n", FORMAT], signed, f"the signature of {signer} does not hold")
    return Opened(_bundle(signed.decode("utf-8")), signer, hashlib.sha256(signed).hexdigest())


def _sealed(raw: bytes) -> tuple[bytes, bytes]:
    """The bytes of signed text and signature, not yet believed."""
    if len(raw) > SEALED_MAX_BYTES:
        raise BundleError(f"larger than {SEALED_MAX_BYTES} bytes")
    content = _json(raw, "is not a bundle")
    if not isinstance(content, dict) or content.keys() != {"signed", "signature"}:
        raise BundleError("is not a bundle: needs `signed` and `signature` and nothing else")
    if not all(isinstance(v, str) for v in content.values()):
        raise BundleError("is not a bundle: `signed` and `signature` are texts")
    try:
        return content["signed"].encode("utf-8"), content["signature"].encode("ascii")
    except UnicodeEncodeError as error:  # half of a surrogate pair is a JSON string, but no text
        raise BundleError(f"is not a bundle: {error.reason}") from error


def _bundle(text: str) -> Bundle:
    content = _json(text, "its signed text is not JSON")
    kinds: dict[str, type] = {"site": str, "serial": int, "made_utc": str, "made_with": str, "note": str, "files": dict}
    if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise BundleError(f"is not of format {FORMAT} {VERSION}: another version of coolctl made it")
    if content.keys() != kinds.keys() | {"format", "version"}:
        raise BundleError("has other entries than a bundle")
    wrong = [k for k, kind in kinds.items() if not isinstance(content[k], kind) or isinstance(content[k], bool)]
    if wrong or content["serial"] < 1:
        raise BundleError(f"wrong entries: {', '.join(wrong) or 'serial below 1'}")
    files = {}
    for name, encoded in content["files"].items():
        try:
            files[name] = base64.b64decode(encoded, validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise BundleError(f"{name}: is not base64") from error
        _check_file(name, files[name])
    if SITE_FILE not in files or len(files.keys() & set(POLICY_FILES)) == 1:
        raise BundleError("needs a site file, and of a policy both files or none")
    return Bundle(**{k: content[k] for k in kinds} | {"files": files})


def _check_file(name: str, raw: bytes) -> None:
    if name not in (SITE_FILE, *POLICY_FILES) and not EQUIPMENT.fullmatch(name):
        raise BundleError(f"{name[:80]!r} has no place in a bundle")
    if len(raw) > FILE_MAX_BYTES:
        raise BundleError(f"{name}: larger than {FILE_MAX_BYTES} bytes")


def _json(raw: bytes | str, otherwise: str) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{otherwise}: {str(error)[:100]}") from error


def _ssh_keygen(words: list[str], given: bytes, otherwise: str) -> bytes:
    program = shutil.which(PROGRAM)
    if program is None:
        raise BundleError(f"needs {PROGRAM} (Debian package openssh-client)")
    try:
        done = subprocess.run([program, *words], input=given, capture_output=True, timeout=SIGNING_MAX_S)
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"{otherwise}: {PROGRAM} gave no answer within {SIGNING_MAX_S:g} s") from error
    if done.returncode != 0:
        raise BundleError(f"{otherwise}: {done.stderr.decode('utf-8', 'replace').strip()[-200:] or 'refused'}")
    return done.stdout
