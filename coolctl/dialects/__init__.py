"""Telemetry dialects: what the gateways and building managers of the field write on MQTT, read strictly.

Each dialect is a pure function of topic and bytes in a file of its own; `Decoder` routes messages to them and counts
what is refused by reason. Nothing here raises past `Decoder.decode`, and nothing here knows a clock or a socket.
"""

from coolctl.dialects.decoder import DIALECTS, NAMES, Decoder, Sources, decoder_for
from coolctl.dialects.native import encode_batch, encode_single
from coolctl.dialects.route import Route

__all__ = ["DIALECTS", "NAMES", "Decoder", "Route", "Sources", "decoder_for", "encode_batch", "encode_single"]
