"""The MQTT client: paho's external loop, driven between ticks by the thread that ticks.

The message callback appends to a bounded queue and does nothing else; connecting (DNS, TCP, TLS) happens in a
short-lived helper thread, so a tick never waits for the network. Nothing is queued while the link is down: a setpoint
that could not go out now is worth nothing later. "Connected" is never evidence; the age of the last message is.
"""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import socket
import ssl
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from coolctl.edge.mqtt_socket import BufferedClient, certificate_ends_s, no_delay, readable
from coolctl.errors import ConfigError, Fault
from coolctl.site import Site

QUEUE_MAX = 20_000
CONNECT_TIMEOUT_S = 5.0
BACKOFF_MIN_S, BACKOFF_MAX_S = 0.5, 5.0
HANDSHAKE_MAX_S = 5.0
READ_ROUNDS = 256
SUBSCRIBE_TOPICS = 100  # in one packet
# A request that a bad link has garbled is granted all the same, for other topics, and nobody would ever know: it is said
# once more after connecting, and whenever nothing at all comes, at pauses that grow.
AGAIN_S, AGAIN_MAX_S = 4.0, 60.0


class Message(NamedTuple):
    """One received message; `received_s` is this process's monotonic clock."""

    topic: str
    payload: bytes
    retained: bool
    received_s: float


class MqttSettings(NamedTuple):
    """Where and as whom to connect."""

    host: str
    port: int
    client_id: str
    protocol: str = "auto"
    keepalive_s: int = 5
    username: str = ""
    password: str = ""
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


class MqttClient:
    """Subscribes to `topics`; received messages wait in `inbox`. Call `run_until` to let it work."""

    def __init__(
        self,
        settings: MqttSettings,
        topics: list[str],
        will: tuple[str, bytes, bytes] | None = None,
        retained: Iterable[str] = (),
        state: Callable[[bool], tuple[str, bytes]] | None = None,
        death: Callable[[], tuple[str, bytes]] | None = None,
        qos: int = 0,
    ):
        """`will` is status topic, payload when lost, payload when online; retained, as status is. Of `topics` those in
        `retained` want what the broker keeps. `state` makes topic and payload of a host's state, offline and online:
        then that is the will, because a broker keeps one, and the status is said when it can be. `death` makes those of an edge
        node's, for each connection anew: not retained. `qos` is what is asked for with the topics."""
        self.settings, self.topics, self.will, self.state = settings, topics, will, state
        self._death, self._qos = death, qos
        self._retained = frozenset(retained)
        self.inbox: deque[Message] = deque(maxlen=QUEUE_MAX)
        self.received = self.dropped = self.connects = self.failed = 0
        self.last_error = ""
        self.expires_s = 0.0  # of the broker's certificate [s since 1970]
        self.ready = False
        self._v5 = settings.protocol != "3.1.1"
        self._client: BufferedClient | None = None
        self._thread: threading.Thread | None = None
        self._fresh: BufferedClient | None = None
        self._retry_at_s = 0.0
        self._handshake_s = 0.0
        self._backoff_s = BACKOFF_MIN_S
        self._subscribed: set[int] = set()
        self._again_s, self._pause_s, self._heard = 0.0, AGAIN_S, -1
        self._selector = selectors.DefaultSelector()
        # Lets a finished connect wake the selector: no polling while the link is down.
        self._wake_r, self._wake_w = socket.socketpair()
        for end in (self._wake_r, self._wake_w):
            end.setblocking(False)
        self._selector.register(self._wake_r, selectors.EVENT_READ)
        self._registered: Any = None

    # -- life cycle

    def close(self, parting: bytes | None = None) -> None:
        """Disconnect cleanly; `parting` replaces the will's payload on the status topic."""
        if self._client is not None and self.ready and parting is not None and self.will:
            self._client.publish(self.will[0], parting, 0, True)
        if self._client is not None and self.ready and self.state:
            self._client.publish(*self.state(False), 1, True)
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_write()
        self._drop("closed")

    def _new_client(self) -> BufferedClient:
        s = self.settings
        client = BufferedClient(
            CallbackAPIVersion.VERSION2, f"{s.client_id}-{random.getrandbits(32):08x}",
            clean_session=None if self._v5 else True, protocol=paho.MQTTv5 if self._v5 else paho.MQTTv311,
            reconnect_on_failure=False,
        )  # fmt: skip
        client.max_queued_messages_set(1)
        client.connect_timeout = CONNECT_TIMEOUT_S
        if s.username:
            client.username_pw_set(s.username, s.password or None)
        if s.tls:
            client.tls_set(s.ca_file or None, s.cert_file or None, s.key_file or None, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        if self._death:
            client.will_set(*self._death(), 1, False)
        elif self.state:
            client.will_set(*self.state(False), 1, True)
        elif self.will:
            client.will_set(self.will[0], self.will[1], 0, True)
        client.on_socket_open = no_delay
        client.on_message = self._on_message
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        return client

    def _connect(self) -> None:
        """In the helper thread: everything that may block."""
        try:
            client = self._new_client()
            client.connect(self.settings.host, self.settings.port, self.settings.keepalive_s)
            self.expires_s = certificate_ends_s(client.socket())
            self._fresh = client
        except (OSError, ValueError) as error:
            self.last_error = str(error)
            self.failed += 1
        finally:
            self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake anyway
            self._wake_w.send(b"x")

    def _drop(self, why: str) -> None:
        self._unwatch()
        if self._client is not None:
            sock = self._client.socket()
            if sock is not None:
                sock.close()
        self._client, self.ready = None, False
        self.last_error = why or self.last_error

    # -- callbacks: never raise, never do more than note

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self.received += 1
        if len(self.inbox) == QUEUE_MAX:
            self.dropped += 1  # the deque forgets its oldest: newest wins
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self.dropped += 1
            return
        self.inbox.append(Message(topic, bytes(message.payload), bool(message.retain), time.monotonic()))

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        if code.is_failure:
            self.last_error = f"refused: {code}"
            self._v5 = self._v5 and self.settings.protocol != "auto"  # "auto": try 3.1.1 next
            return
        self.connects += 1
        self._backoff_s = BACKOFF_MIN_S
        self._subscribed = set()
        self._again_s, self._pause_s, self._heard = time.monotonic() + AGAIN_S, AGAIN_S, -1
        self._subscribe(client)
        if not self.topics:
            self._online(client)

    def _subscribe(self, client: paho.Client) -> None:
        for start in range(0, len(self.topics), SUBSCRIBE_TOPICS):
            some = self.topics[start : start + SUBSCRIBE_TOPICS]
            asked: list[Any] = [(t, self._options(t)) for t in some] if self._v5 else [(t, self._qos) for t in some]
            result, mid = client.subscribe(asked)
            if result == MQTTErrorCode.MQTT_ERR_SUCCESS and mid is not None:
                self._subscribed.add(mid)

    def _subscribe_again(self, client: paho.Client, now_s: float) -> None:
        """Once after connecting, and where nothing has come since the last look."""
        if now_s < self._again_s or not self.topics:
            return
        silent = self.received == self._heard
        if silent or self._heard < 0:
            self._subscribe(client)
        self._pause_s = min(2.0 * self._pause_s, AGAIN_MAX_S) if silent else AGAIN_S
        self._again_s, self._heard = now_s + self._pause_s, self.received

    def _options(self, topic: str) -> SubscribeOptions:
        wanted = topic in self._retained
        handling = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if wanted else SubscribeOptions.RETAIN_DO_NOT_SEND
        return SubscribeOptions(qos=self._qos, retainHandling=handling)

    def _on_subscribe(self, client: paho.Client, _data: Any, mid: int, codes: list[ReasonCode], _properties: Any) -> None:
        if any(code.is_failure for code in codes):
            self.last_error = f"subscription refused: {codes[0]}"
        self._subscribed.discard(mid)
        if not self._subscribed and not self.ready:
            self._online(client)

    def _online(self, client: paho.Client) -> None:
        self.ready = True
        if self.will:
            client.publish(self.will[0], self.will[2], 0, True)
        if self.state:
            client.publish(*self.state(True), 1, True)

    # -- work

    def publish(self, topic: str, payload: bytes, expiry_s: int = 0, retain: bool = False) -> bool:
        """Send now at QoS 0, or not at all: False when the link is down. Only descriptions may be retained."""
        if self._client is None or not self.ready:
            return False
        properties = None
        if self._v5 and expiry_s:
            properties = Properties(PacketTypes.PUBLISH)
            properties.MessageExpiryInterval = expiry_s
        info = self._client.publish(topic, payload, 0, retain, properties)
        return info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    def say_state(self) -> None:
        """The host's birth once more: somebody has said that it is offline."""
        if self._client is not None and self.ready and self.state:
            self._client.publish(*self.state(True), 1, True)

    def run_until(self, deadline_s: float, stop: Callable[[], bool] | None = None) -> None:
        """Work the link until `deadline_s` [monotonic s], or until `stop()` says so after some work was done."""
        while True:
            self._keep_connected()
            self._flush()
            now_s = time.monotonic()
            if (stop is not None and stop()) or now_s >= deadline_s:
                return
            # paho's own timers (keepalive) need a look now and then even when nothing arrives.
            ahead = self._client is not None and self._client.has_more()
            events = self._selector.select(0.0 if ahead else min(deadline_s - now_s, 0.5))
            heard = {key.fileobj for key, _mask in events}
            if self._wake_r in heard:
                self._wake_r.recv(64)
            if ahead or heard - {self._wake_r}:
                self._read()
            if self._client is not None and self._client.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._drop("keepalive lost")

    def _read(self) -> None:
        client = self._client
        if client is None:
            return
        for _ in range(READ_ROUNDS):
            if client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._drop(self.last_error or "connection lost")
                return
            sock = client.socket()
            if sock is None or not (client.has_more() or readable(sock)):
                return

    def _flush(self) -> None:
        client = self._client
        if client is not None:
            if client.want_write():
                client.loop_write()
            self._watch()
            if client.socket() is None:
                self._drop(self.last_error or "connection lost")

    def _keep_connected(self) -> None:
        now_s = time.monotonic()
        if self._fresh is not None:
            self._client, self._fresh = self._fresh, None
            self._handshake_s = now_s
            self._watch()
        if self._client is not None:
            if not self.ready and now_s - self._handshake_s > HANDSHAKE_MAX_S:
                self._drop(self.last_error or "no answer from the broker")
            elif self.ready:
                self._subscribe_again(self._client, now_s)
            return
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
        if self._thread is None and now_s >= self._retry_at_s:
            self._retry_at_s = now_s + self._backoff_s * random.uniform(0.8, 1.2)
            self._backoff_s = min(self._backoff_s * 1.6, BACKOFF_MAX_S)
            self._thread = threading.Thread(target=self._connect, name="mqtt-connect", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        sock = self._client.socket() if self._client is not None else None
        if sock is self._registered:
            return
        self._unwatch()
        if sock is not None:
            self._selector.register(sock, selectors.EVENT_READ)
            self._registered = sock

    def _unwatch(self) -> None:
        if self._registered is not None:
            with contextlib.suppress(KeyError, ValueError):  # closed under us: forgotten already
                self._selector.unregister(self._registered)
            self._registered = None


def settings_for(site: Site, broker: str, role: str) -> MqttSettings:
    """Connection of one of a site's processes; `broker` (`HOST:PORT`) overrides the site file's address.

    Raises `ConfigError` where a secret cannot be read, or could be read by others.
    """
    m = site.file.mqtt.for_role(role)
    host, port = split_address(broker, m.host, m.port)
    key_file = str(secret_file(m.key_file, "mqtt.key_file")) if m.tls and m.key_file else ""
    cert_file = str(credential(m.cert_file)) if m.tls and m.cert_file else ""
    ca_file = str(credential(m.ca_file)) if m.tls and m.ca_file else ""
    name = f"coolctl-{role}-{site.name}"
    return MqttSettings(
        host, port, name, m.protocol, m.keepalive_s, m.username, password(m.password_file), m.tls, ca_file, cert_file, key_file
    )


def split_address(text: str, host: str, port: int) -> tuple[str, int]:
    """`HOST:PORT` with defaults. Raises `ConfigError`."""
    if not text:
        return host, port
    name, _, number = text.rpartition(":")
    if not number.isdigit() or not 0 < int(number) < 65536:
        raise ConfigError([Fault("--broker", None, text, "is not HOST:PORT")])
    return name or host, int(number)


def credential(file: str) -> Path:
    """A path as given, or the systemd credential of that name where it has no folder."""
    return Path(file) if "/" in file else Path(os.environ.get("CREDENTIALS_DIRECTORY", "")) / file


def secret_file(file: str, key: str) -> Path:
    """A secret's file, if it can be read, and by its owner alone. Raises `ConfigError`, never shows what is in it."""
    path = credential(file)
    try:
        mode = path.stat().st_mode
        path.open("rb").close()
    except OSError as error:
        raise ConfigError([Fault(str(path), None, key, f"cannot be read: {error.strerror}")]) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP:
        raise ConfigError([Fault(str(path), None, key, f"others may read it (mode {stat.S_IMODE(mode):04o}): chmod 600")])
    return path


def password(file: str) -> str:
    """The password from its file (or systemd's credential of that name). Raises `ConfigError`, never shows it."""
    return secret_file(file, "mqtt.password_file").read_text(encoding="utf-8").strip() if file else ""
