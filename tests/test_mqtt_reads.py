"""Reading ahead of paho: nothing is lost, nothing waits in the buffer for the next byte, and paho still asks as we think."""

from __future__ import annotations

import socket
import threading
import time

import paho.mqtt.client as paho
import pytest

from coolctl.bench.feed import Listener, publish
from coolctl.edge.mqtt import READ_ROUNDS, MqttClient, MqttSettings

TOPICS = [f"tel/{k}" for k in range(7)]


class Broker:
    """The broker's end of one connection, in a thread: answers the handshake, then sends what it is given, and no more."""

    def __init__(self, *pieces: bytes):
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(10.0)
        self.port = self._server.getsockname()[1]
        self._pieces = pieces
        self.gone = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            listener = Listener(connection)
            while not listener.subscribed and not listener.gone:
                listener.hear(5.0)
            for piece in self._pieces:
                connection.sendall(piece)
                time.sleep(0.02)
            self.gone.wait(10.0)

    def close(self) -> None:
        self.gone.set()
        self._thread.join(10.0)
        self._server.close()


def received(messages: int, *pieces: bytes) -> list[tuple[str, bytes]]:
    broker = Broker(*pieces)
    client = MqttClient(MqttSettings("127.0.0.1", broker.port, "test", "3.1.1"), ["tel/#"])
    try:
        client.run_until(time.monotonic() + 5.0, lambda: client.received >= messages)
        return [(m.topic, m.payload) for m in client.inbox]
    finally:
        client.close()
        broker.close()


def test_a_burst_larger_than_a_round_comes_whole_although_no_byte_follows() -> None:
    count = 3 * READ_ROUNDS + 1
    sent = [(TOPICS[k % len(TOPICS)], b"%d" % k) for k in range(count)]
    assert received(count, b"".join(publish(*m) for m in sent)) == sent


@pytest.mark.parametrize("cut", [1, 2, 3, 9, 2_000])
def test_a_packet_in_pieces_is_put_together(cut: int) -> None:
    sent = [("tel/large", bytes(range(256)) * 10), ("tel/next", b"1")]
    raw = b"".join(publish(*m) for m in sent)
    assert received(2, raw[:cut], raw[cut:]) == sent


def test_the_hook_is_still_the_one_that_paho_reads_through() -> None:
    asked = {"_packet_read": False}
    assert callable(paho.Client._sock_recv)
    asked["_packet_read"] = "_sock_recv" in paho.Client._packet_read.__code__.co_names
    assert asked["_packet_read"], "paho reads by another way now: edge/mqtt.py would no longer read ahead"
