"""The shipped broker configuration, with certificates of an authority of the test's own: who gets in, and who may say what."""

from __future__ import annotations

import datetime
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import paho.mqtt.client as paho
import pytest
import trustme
from conftest import ROOT, SITE
from paho.mqtt.enums import CallbackAPIVersion

from coolctl.cli import main
from coolctl.edge.mqtt import MqttClient, MqttSettings, settings_for
from coolctl.errors import ConfigError
from coolctl.site import Site, load_site

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
pytestmark = [pytest.mark.hil, pytest.mark.skipif(not MOSQUITTO, reason="mosquitto is not installed")]
TREE = "coolctl/v1/hall1mw/"
IDENTITIES = ("coolctl-daemon", "coolctl-gateway", "coolctl-web", "coolctl-ops", "sensors", "bms", "coolctl-plant")
WRITERS = {
    "sp": "coolctl-daemon", "claim": "coolctl-daemon", "decision": "coolctl-daemon", "shadow": "coolctl-daemon",
    "proposal": "coolctl-daemon", "status": "coolctl-daemon", "gw_tick": "coolctl-gateway", "ack": "coolctl-gateway",
    "done": "coolctl-gateway", "bms": "coolctl-gateway", "cmd": "coolctl-ops", "clock": "coolctl-plant",
}  # fmt: skip


class Secured(NamedTuple):
    """A broker in the shipped configuration, and where its certificates lie."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    def settings(self, identity: str, *, ca: str = "ca.pem", protocol: str = "5", host: str = "127.0.0.1") -> MqttSettings:
        own = [str(self.folder / f"{identity}.{end}") if identity else "" for end in ("pem", "key")]
        return MqttSettings(host, self.port, f"test-{identity}", protocol, tls=True, ca_file=str(self.folder / ca),
                            cert_file=own[0], key_file=own[1])  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    ours, foreign = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(folder / "ca.pem")
    foreign.cert_pem.write_to_path(folder / "foreign-ca.pem")
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    made = {name: ours.issue_cert(f"{name}.test", common_name=name) for name in IDENTITIES}
    made["nobody"] = ours.issue_cert("nobody.test", common_name="nobody")
    made["expired"] = ours.issue_cert("coolctl-daemon.test", common_name="coolctl-daemon", not_after=past)
    made["foreign"] = foreign.issue_cert("coolctl-daemon.test", common_name="coolctl-daemon")
    made["broker"] = ours.issue_cert("127.0.0.1", common_name="broker")
    for name, cert in made.items():
        cert.private_key_pem.write_to_path(folder / f"{name}.key")
        (folder / f"{name}.key").chmod(0o600)
        (folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in cert.cert_chain_pems))
    port = free_port()
    text = (ROOT / "config/mosquitto/coolctl.conf").read_text().replace("/etc/mosquitto/certs", str(folder))
    text = text.replace("/etc/mosquitto/coolctl.acl", str(ROOT / "config/mosquitto/coolctl.acl")).replace(
        "listener 8883", f"listener {port}", 1
    )
    (folder / "conf").write_text(text + "user root\n")
    process = subprocess.Popen(
        [str(MOSQUITTO), "-c", str(folder / "conf")], stdout=subprocess.DEVNULL, stderr=(folder / "log").open("wb")
    )
    end_s = time.monotonic() + 10.0
    while time.monotonic() < end_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield Secured(port, folder, process)
    process.terminate()
    process.wait(5.0)


def comes_in(settings: MqttSettings, seconds: float = 2.5) -> tuple[bool, str]:
    """Whether the broker takes this client, and what the client says where not."""
    client = MqttClient(settings, [TREE + "tel"])
    client.run_until(time.monotonic() + seconds, lambda: client.ready)
    ready, error = client.ready, client.last_error
    client.close()
    return ready, error


def refusal(secured: Secured, identity: str, topic: str) -> str:
    """The broker's answer to a publish with QoS 1, as MQTT 5 can tell it."""
    codes: list[str] = []
    s = secured.settings(identity)
    client = paho.Client(CallbackAPIVersion.VERSION2, f"probe-{identity}", protocol=paho.MQTTv5)
    client.tls_set(s.ca_file, s.cert_file, s.key_file)
    client.on_publish = lambda _c, _d, _m, code, _p: codes.append(str(code))
    client.connect(s.host, s.port)
    client.loop_start()
    try:
        client.publish(topic, b"{}", qos=1)
        end_s = time.monotonic() + 5.0
        while not codes and time.monotonic() < end_s:
            time.sleep(0.01)
    finally:
        client.disconnect()
        client.loop_stop()
    assert codes, "the broker gave no answer"
    return codes[0]


@pytest.mark.parametrize("identity", IDENTITIES)
def test_each_identity_comes_in_with_its_certificate(secured: Secured, identity: str) -> None:
    assert comes_in(secured.settings(identity)) == (True, "")


def test_the_end_of_the_brokers_certificate_is_known(secured: Secured) -> None:
    client = MqttClient(secured.settings("coolctl-daemon"), [])
    client.run_until(time.monotonic() + 3.0, lambda: client.ready)
    assert client.ready and client.expires_s > time.time() + 86400.0
    client.close()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"identity": ""}, ""), ({"identity": "expired"}, ""), ({"identity": "foreign"}, ""),
        ({"identity": "coolctl-daemon", "ca": "foreign-ca.pem"}, "certificate verify failed"),
        ({"identity": "coolctl-daemon", "host": "localhost"}, "certificate"),  # the broker's certificate names another host
    ],
)  # fmt: skip
def test_who_has_not_the_right_certificate_stays_out(secured: Secured, settings: dict[str, str], why: str) -> None:
    ready, error = comes_in(secured.settings(**settings))  # type: ignore[arg-type]
    assert not ready and error and why in error.lower()


def test_nobody_comes_in_without_encryption(secured: Secured) -> None:
    ready, _error = comes_in(MqttSettings("127.0.0.1", secured.port, "plain"))
    assert not ready


def test_a_certificate_that_is_not_there_is_said(secured: Secured) -> None:
    ready, error = comes_in(secured.settings("never-made"), 1.5)
    assert not ready and "No such file" in error


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_each_topic_has_one_writer(secured: Secured, kind: str) -> None:
    answers = {who: refusal(secured, who, TREE + kind) for who in IDENTITIES}
    allowed = {who for who, answer in answers.items() if "Not authorized" not in answer}
    assert allowed == {WRITERS[kind]}, answers


def test_telemetry_is_written_by_sources_alone(secured: Secured) -> None:
    answers = {who: refusal(secured, who, TREE + "tel") for who in (*IDENTITIES, "nobody")}
    assert {who for who, answer in answers.items() if "Not authorized" not in answer} == {"sensors", "bms", "coolctl-plant"}
    assert "Not authorized" in refusal(secured, "sensors", "anything/else")


def test_who_only_listens_hears_no_more_than_is_granted(secured: Secured) -> None:
    """Subscribing to everything is not refused by the broker; what is not granted is not delivered."""
    web = MqttClient(secured.settings("coolctl-web"), ["#"])
    daemon, ops = (MqttClient(secured.settings(f"coolctl-{who}"), []) for who in ("daemon", "ops"))
    for client in (web, daemon, ops):
        client.run_until(time.monotonic() + 3.0, lambda c=client: c.ready)  # type: ignore[misc]
        assert client.ready
    ops.publish(TREE + "cmd", b"secret plan")
    daemon.publish(TREE + "sp", b"{}")
    daemon.publish(TREE + "decision", b"{}")
    for client in (ops, daemon):
        client.run_until(time.monotonic() + 0.2)
    web.run_until(time.monotonic() + 1.0)
    assert [m.topic for m in web.inbox] == [TREE + "decision"]
    for client in (web, daemon, ops):
        client.close()


def edited(folder: Path, lines: str) -> Site:
    path = folder / "site.toml"
    path.write_text(SITE.read_text().replace("[weather]", f"[mqtt]\n{lines}\n[weather]", 1))
    shutil.copytree(ROOT / "config/equipment", folder / "equipment", dirs_exist_ok=True)
    return load_site(path)


def test_each_process_has_an_identity_of_its_own(tmp_path: Path) -> None:
    for role in ("daemon", "gateway"):
        (tmp_path / f"{role}.secret").write_text(f"word of {role}\n")
        (tmp_path / f"{role}.secret").chmod(0o600)
    site = edited(tmp_path, f'username = "coolctl-{{role}}"\npassword_file = "{tmp_path}/{{role}}.secret"')
    for role in ("daemon", "gateway"):
        settings = settings_for(site, "", role)
        assert (settings.username, settings.password) == (f"coolctl-{role}", f"word of {role}")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666, 0o620])
@pytest.mark.parametrize("key", ["key_file", "password_file"])
def test_a_secret_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int, key: str) -> None:
    (tmp_path / "secret").write_text("hush\n")
    (tmp_path / "secret").chmod(mode)
    site = edited(tmp_path, f'tls = true\n{key} = "{tmp_path}/secret"')
    with pytest.raises(ConfigError, match="others may"):
        settings_for(site, "", "daemon")
    (tmp_path / "secret").chmod(0o640)
    settings_for(site, "", "daemon")


def test_no_secret_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "daemon.secret").write_text("xyzzy-plugh\n")
    (tmp_path / "daemon.secret").chmod(0o600)
    edited(tmp_path, f'username = "who-{{role}}"\npassword_file = "{tmp_path}/{{role}}.secret"')
    path = str(tmp_path / "site.toml")
    main(["check-config", path])
    main(["check-config", path, "--json", "-"])
    main(["points", "--site", path])
    main(["mode", "--site", path, "--broker", f"127.0.0.1:{free_port()}"])
    out, err = capsys.readouterr()
    assert "xyzzy" not in out + err and "who-" not in out + err
