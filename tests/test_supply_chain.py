"""What is installed is what was locked, and is listed: a changed file is refused, every part has a version and a hash."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

from tools import lock, sbom


def wheel(folder: Path, content: str) -> Path:
    """A package of one module."""
    path = folder / "chilled-1.0-py3-none-any.whl"
    path.unlink(missing_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("chilled.py", content)
        archive.writestr("chilled-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: chilled\nVersion: 1.0\n")
        archive.writestr("chilled-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("chilled-1.0.dist-info/RECORD", "")
    return path


def install(folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    """As tools/deb.sh does."""
    words = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-compile",
        "--no-deps",
        "--no-index",
    ]
    words += ["--find-links", str(folder), "--only-binary", ":all:", "--require-hashes", "--requirement", str(folder / "x.lock")]
    return subprocess.run([*words, "--target", str(folder / target)], capture_output=True, text=True)


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    digest = hashlib.sha256(wheel(tmp_path, "x = 1\n").read_bytes()).hexdigest()
    (tmp_path / "x.lock").write_text(f"chilled==1.0 --hash=sha256:{digest}\n")
    wheel(tmp_path, "x = 'somebody else'\n")
    refused = install(tmp_path, "bad")
    assert refused.returncode != 0 and "DO NOT MATCH THE HASHES" in refused.stderr and digest in refused.stderr
    assert not (tmp_path / "bad/chilled.py").exists()


@pytest.mark.nightly
def test_what_was_locked_is_installed(tmp_path: Path) -> None:
    made = wheel(tmp_path, "x = 1\n")
    found = lock.lines(lock.resolve(sys.executable, ["chilled"], "--no-index", "--find-links", str(tmp_path)))
    assert found == [f"chilled==1.0 --hash=sha256:{hashlib.sha256(made.read_bytes()).hexdigest()}"]
    (tmp_path / "x.lock").write_text("\n".join(found) + "\n")
    assert install(tmp_path, "good").returncode == 0 and (tmp_path / "good/chilled.py").exists()


def test_the_package_is_built_from_a_lock_alone() -> None:
    script = (ROOT / "tools/deb.sh").read_text()
    installs = re.findall(r'^"\$\{install\[@\]\}" (.*)$', script, re.MULTILINE)
    assert len(installs) == 2 and "--no-deps" in script
    assert "--require-hashes" in installs[0] and installs[1].startswith("--no-index "), "from the lock, and the wheel built here"
    assert script.count("pip install") == 1


def test_a_file_without_a_hash_is_no_lock() -> None:
    item = {"metadata": {"name": "x", "version": "1"}, "download_info": {"url": "file:///x", "dir_info": {}}}
    with pytest.raises(ValueError, match="x 1: no hash"):
        lock.lines({"install": [item]})


def test_a_lock_reads_back_and_names_no_place() -> None:
    info = {"url": "https://index.example/x.whl", "archive_info": {"hashes": {"sha256": "ab"}}}
    found = lock.lines({"install": [{"metadata": {"name": "B_x", "version": "2"}, "download_info": info}]})
    assert found == ["B_x==2 --hash=sha256:ab"]
    assert lock.read("# note\n" + found[0] + "\n") == {"B_x": ("2", "ab")}


def test_what_runs_is_constrained_to_versions() -> None:
    constrained = {sbom.canonical(line.split("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    needed = sbom.needed(lock.requirements())
    assert needed <= constrained and {"numba", "llvmlite", "pydantic-core"} <= needed and "pytest" not in needed


def test_the_bill_lists_what_runs_and_nothing_of_this_machine() -> None:
    tool = {"name": "t", "externalReferences": [{"type": "website", "url": "https://x.example"}]}
    part = {
        "bom-ref": "num_py==1",
        "name": "num_py",
        "version": "1",
        "externalReferences": [{"type": "distribution", "url": "file:///here"}],
    }
    bom = {
        "components": [part, {"bom-ref": "pytest==8", "name": "pytest", "version": "8"}],
        "dependencies": [{"ref": "root", "dependsOn": ["num_py==1", "pytest==8"]}, {"ref": "pytest==8"}],
        "metadata": {"component": {"bom-ref": "root", "name": "coolctl"}, "tools": {"components": [tool]}},
    }
    held = sbom.held_to(bom, {"num-py"}, {"Num.Py": ("1", "ab")})
    assert held["components"] == [
        {"bom-ref": "num_py==1", "name": "num_py", "version": "1", "hashes": [{"alg": "SHA-256", "content": "ab"}]}
    ]
    assert held["dependencies"] == [{"ref": "root", "dependsOn": ["num_py==1"]}] and "example" not in str(held)


@pytest.mark.nightly
def test_the_bill_of_this_environment_satisfies_the_standard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "coolctl.cdx.json"
    assert sbom.main(["--out", str(out)]) == 0, capsys.readouterr().err
    assert '"specVersion": "1.6"' in out.read_text() and "file:" not in out.read_text()
