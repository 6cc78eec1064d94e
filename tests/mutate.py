"""A seeded mutator for messages: flips, cuts, insertions and repetitions, with the pieces that decoders stumble over."""

from __future__ import annotations

import random
from collections.abc import Iterator

PIECES = (
    b"NaN", b"1e999", b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u0000", b"true", b"null", b"-", b"\xff", b"\x00", b"0" * 50, b",", b":",
    b"=", b" ", b"\n", b"/", b"\x80" * 11, b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"i", b"u",
)  # fmt: skip


def mutations(seeds: list[bytes], count: int, rng: random.Random, most: int = 6) -> Iterator[bytes]:
    """`count` messages, each a seed changed in one to `most` places."""
    for _ in range(count):
        raw = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, most)):
            at, kind = rng.randrange(len(raw) + 1), rng.random()
            if kind < 0.4 and raw:
                raw[min(at, len(raw) - 1)] = rng.randrange(256)
            elif kind < 0.65:
                raw[at:at] = rng.choice(PIECES)
            elif kind < 0.75:
                end = at + rng.randint(1, 40)
                raw[at:at] = raw[at:end]
            else:
                del raw[at : at + rng.randint(1, 8)]
        yield bytes(raw)
