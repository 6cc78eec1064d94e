"""A broker for the demo and the tests: mosquitto where it is installed, else the embedded Python one.

nats-server is what an event bus of data centres is often built on; it is there for the tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from coolctl.errors import BrokerUnreachable

START_TIMEOUT_S = 15.0
_EMBEDDED = """
import asyncio, sys
from amqtt.broker import Broker
async def main():
    config = {"listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:%d"}},
              "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}}
    broker = Broker(config)
    await broker.start()
    await asyncio.Event().wait()
asyncio.run(main())
"""
_MOSQUITTO = """
listener {port} 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_packet_size 1048576
log_type error
"""
# Sessions and retained messages of its MQTT need the store; the port of its own protocol is any.
_NATS = """
server_name: coolctl
host: 127.0.0.1
port: -1
jetstream {{ store_dir: "{folder}/store" }}
mqtt {{ host: 127.0.0.1, port: {port} }}
"""


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def path_of(daemon: str) -> str | None:
    """Debian keeps daemons in /usr/sbin, which is not on every PATH."""
    return shutil.which(daemon) or shutil.which(daemon, path="/usr/sbin:/usr/local/sbin")


def mosquitto_path() -> str | None:
    """Where mosquitto is, if it is installed."""
    return path_of("mosquitto")


class Broker:
    """A broker of our own on a loopback port; stops with `close`."""

    def __init__(self, kind: str = "auto", port: int = 0):
        self.port = port or free_port()
        self.kind = kind if kind != "auto" else ("mosquitto" if mosquitto_path() else "amqtt")
        self._folder = tempfile.TemporaryDirectory(prefix="coolctl-broker-")
        self.process = self._start()
        self._wait()

    def _start(self) -> subprocess.Popen[bytes]:
        if self.kind == "mosquitto":
            config = Path(self._folder.name) / "mosquitto.conf"
            config.write_text(_MOSQUITTO.format(port=self.port))
            # mosquitto gives up root on start and must still read its own file.
            os.chmod(self._folder.name, 0o755)
            command = [str(mosquitto_path()), "-c", str(config)]
        elif self.kind == "nats":
            config = Path(self._folder.name) / "nats.conf"
            config.write_text(_NATS.format(port=self.port, folder=self._folder.name))
            command = [str(path_of("nats-server")), "-c", str(config)]
        else:
            command = [sys.executable, "-c", _EMBEDDED % self.port]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), 0.5):
                    return
            except OSError:
                time.sleep(0.05)
        self.close()
        raise BrokerUnreachable(f"the {self.kind} broker did not start on port {self.port}")

    def kill(self) -> None:
        """Die at once, as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        """Start again on the same port."""
        self.process = self._start()
        self._wait()

    def close(self) -> None:
        """Stop and leave nothing behind."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5.0)
            except subprocess.TimeoutExpired:
                self.kill()
        self._folder.cleanup()
