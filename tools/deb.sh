#!/bin/bash
# Builds build/coolctl_VERSION_ARCH.deb: a virtual environment with everything of it under /opt/coolctl, units, manual page,
# completion and a site to try. Debian's own numba and paho are too old and it has no ONNX Runtime, so they are inside.
# Usage: tools/deb.sh [PYTHON], the system's Python by default: the package depends on that very minor version.
# LOCK=FILE: install what an earlier build's lock names, and nothing else; without it a lock is made now and lies in the package.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-/usr/bin/python3}
# What packages and users of a machine share is not for the group alone to read.
umask 022
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
minor=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
next="${minor%.*}.$((${minor#*.} + 1))"
arch=$(dpkg --print-architecture)
root=build/deb/root
out=build/coolctl_${version}_${arch}.deb
rm -rf build/deb && mkdir -p "$root"/opt "$root"/usr/{share/man/man1,share/bash-completion/completions,share/doc/coolctl,bin,lib/systemd/system} \
    "$root"/etc/coolctl "$root"/DEBIAN

echo "== environment in /opt/coolctl"
"$python" -m venv "$root/opt/coolctl"
# The sources as committed or changed here, without what else lies about; a wheel, so that nothing points back.
.venv/bin/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/deb/wheel .
inside="$root/opt/coolctl/bin/python"
lock=build/deb/requirements.lock
if [ -n "${LOCK:-}" ]; then cp "$LOCK" "$lock"; else .venv/bin/python -m tools.lock --python "$inside" --out "$lock"; fi
# -I: what lies on this shell's PYTHONPATH is not in the package, whatever pip would take for installed.
install=("$inside" -I -m pip install --quiet --disable-pip-version-check --no-compile --no-deps)
"${install[@]}" --only-binary :all: --require-hashes --requirement "$lock"
"${install[@]}" --no-index build/deb/wheel/*.whl
"$inside" -I -m pip --disable-pip-version-check check
test -x "$root/opt/coolctl/bin/coolctl"
"$inside" -I -m pip uninstall --quiet --yes pip setuptools 2>/dev/null || true
# Programs and paths name where they were made; they will lie in /opt/coolctl.
here=$(realpath "$root/opt/coolctl")
grep -rlI --null "$here" "$root/opt/coolctl/bin" "$root/opt/coolctl/pyvenv.cfg" | xargs -0 -r sed -i "s|$here|/opt/coolctl|g"
ln -sf "/usr/bin/python$minor" "$root/opt/coolctl/bin/python3"
find "$root/opt/coolctl" -name '*.dist-info' -type d -exec sh -c 'rm -f "$1"/direct_url.json "$1"/REQUESTED' _ {} \;
find "$root/opt/coolctl" -type d \( -name tests -o -name test \) -path '*/numba/*' -prune -exec rm -rf {} +

echo "== units, manual, completion"
cp systemd/* "$root/usr/lib/systemd/system/"
ln -s /opt/coolctl/bin/coolctl "$root/usr/bin/coolctl"
ln -s /opt/coolctl/share/coolctl "$root/usr/share/coolctl"
.venv/bin/python -m tools.manual --out build/deb/manual
gzip -9n < build/deb/manual/coolctl.1 > "$root/usr/share/man/man1/coolctl.1.gz"
cp build/deb/manual/coolctl.bash "$root/usr/share/bash-completion/completions/coolctl"
cp README.md LICENSE CHANGELOG.md "$lock" "$root/usr/share/doc/coolctl/"
.venv/bin/python -m tools.sbom --python "$inside" --lock "$lock" --out "$root/usr/share/doc/coolctl/coolctl.cdx.json"
# A site to try; kept as changed over upgrades, like everything in /etc.
cp config/sites/hall1mw.toml "$root/etc/coolctl/simulated.toml"

echo "== control"
sed -e "s|@VERSION@|$version|" -e "s|@ARCH@|$arch|" -e "s|@PYTHON@|$minor|" -e "s|@NEXT@|$next|" \
    -e "s|@SIZE@|$(du -sk "$root" | cut -f1)|" tools/debian/control > "$root/DEBIAN/control"
for script in postinst prerm postrm; do install -m 755 "tools/debian/$script" "$root/DEBIAN/$script"; done
echo /etc/coolctl/simulated.toml > "$root/DEBIAN/conffiles"

echo "== $out"
dpkg-deb --root-owner-group -Zzstd -z3 --build "$root" "$out" > /dev/null
du -h "$out" | cut -f1
