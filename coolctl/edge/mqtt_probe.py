"""Questions to a broker that the client's own loop does not ask: does the port answer, what does TLS say, who hears a topic."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from coolctl.edge.mqtt import MqttSettings

TIMEOUT_S = 5.0
AFTER_HANDSHAKE_S = 0.5


def tcp_fault(host: str, port: int) -> str:
    """Why the port does not answer; empty where it does."""
    try:
        socket.create_connection((host, port), TIMEOUT_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def tls_fault(s: MqttSettings) -> str:
    """Why no encrypted connection comes about; empty where one does.

    A broker that misses a client's certificate says so only after the handshake, by ending the connection.
    """
    try:
        context = ssl.create_default_context(cafile=s.ca_file or None)
        if s.cert_file:
            context.load_cert_chain(s.cert_file, s.key_file or None)
        with (
            socket.create_connection((s.host, s.port), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=s.host) as sock,
        ):
            sock.settimeout(AFTER_HANDSHAKE_S)
            # An MQTT broker keeps quiet until it is spoken to.
            with contextlib.suppress(TimeoutError):
                return "the broker ends the connection after the handshake" if sock.recv(1) == b"" else ""
    except ssl.SSLError as error:
        return f"{error.reason or error}".replace("_", " ").lower()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def who_hears(s: MqttSettings, topic: str, payload: bytes) -> str:
    """The broker's answer to one publish with QoS 1: `Success`, `No matching subscribers`, `Not authorized`, or why none came.

    Only MQTT 5 tells; an older broker answers `Success` to everything.
    """
    answers: list[str] = []

    def note(_client: Any, _data: Any, _mid: int, code: Any, _properties: Any) -> None:
        answers.append(str(code))

    def refused(_client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            answers.append(f"refused: {code}")
        else:
            client.publish(topic, payload, qos=1)

    client = paho.Client(CallbackAPIVersion.VERSION2, f"{s.client_id}-probe", protocol=paho.MQTTv5, reconnect_on_failure=False)
    client.connect_timeout = TIMEOUT_S
    client.on_publish, client.on_connect = note, refused
    try:
        if s.username:
            client.username_pw_set(s.username, s.password or None)
        if s.tls:
            client.tls_set(s.ca_file or None, s.cert_file or None, s.key_file or None)
        client.connect(s.host, s.port)
    except (OSError, ValueError) as error:
        return str(error)
    end_s = time.monotonic() + TIMEOUT_S
    while not answers and time.monotonic() < end_s:
        if client.loop(0.1) != paho.MQTT_ERR_SUCCESS:
            break
    client.disconnect()
    return answers[0] if answers else "no answer"
