#!/bin/bash
# Installs what pip cannot bring: venv, two brokers, a browser for the page, promtool for the rules, systemd-nspawn for the
# services, ssh-keygen for signed bundles. None of them is started on its default ports. Missing optional packages are said,
# not fatal: the demo falls back to the embedded broker.
set -u
needed=()
python3 -c 'import ensurepip' 2>/dev/null || needed+=(python3-venv)
PATH="$PATH:/usr/sbin" command -v mosquitto >/dev/null || needed+=(mosquitto)
command -v chromium >/dev/null || needed+=(chromium)
PATH="$PATH:/usr/sbin" command -v prometheus >/dev/null || needed+=(prometheus)
command -v mosquitto_sub >/dev/null || needed+=(mosquitto-clients)
PATH="$PATH:/usr/sbin" command -v nats-server >/dev/null || needed+=(nats-server)
command -v ssh-keygen >/dev/null || needed+=(openssh-client)
command -v systemd-nspawn >/dev/null || needed+=(systemd-container)
[ ${#needed[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null; then
    echo "no apt-get here; please install: ${needed[*]}" >&2
    exit 0
fi
sudo=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "neither root nor sudo; please install: ${needed[*]}" >&2; exit 0; }
    sudo=sudo
fi
# invoke-rc.d asks this file whether a package may start its service: 101 = no. Put away again whatever happens.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
    trap '$sudo rm -f "$policy"' EXIT
fi
echo "installing: ${needed[*]}"
$sudo apt-get update -qq || echo "apt-get update failed; trying with the lists that are there" >&2
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${needed[@]}" >/dev/null ||
    echo "could not install all of: ${needed[*]}" >&2
python3 -c 'import ensurepip' 2>/dev/null || { echo "python3-venv is missing and needed" >&2; exit 1; }
