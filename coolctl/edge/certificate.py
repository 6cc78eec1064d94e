"""When a certificate of our own ends: the one date that is wanted of it, without a library of cryptography at run time.

Only the frame of a certificate is walked (RFC 5280 §4.1, DER of X.690); whether it is good is TLS's to judge.
"""

from __future__ import annotations

import calendar
import re
import ssl
import time
from pathlib import Path

SEQUENCE, UTC_TIME, GENERALIZED_TIME, VERSION = 0x30, 0x17, 0x18, 0xA0
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
FILE_MAX_BYTES = 1 << 20


def ends_s(path: str) -> float:
    """End of the first certificate in a PEM file [s since 1970]; 0 where there is no file or nothing that can be read."""
    if not path:
        return 0.0
    try:
        with Path(path).open("rb") as stream:
            found = PEM.search(stream.read(FILE_MAX_BYTES).decode("ascii", "replace"))
        return _not_after_s(ssl.PEM_cert_to_DER_cert(found[0])) if found else 0.0
    except (OSError, ValueError, IndexError):
        return 0.0


def _not_after_s(der: bytes) -> float:
    """`validity.notAfter` of a certificate [s since 1970]. Raises ValueError or IndexError where it is none."""
    _, at, _ = _element(der, 0, SEQUENCE)  # Certificate
    _, at, _ = _element(der, at, SEQUENCE)  # TBSCertificate
    tag, _, end = _element(der, at)
    before_validity = 4 if tag == VERSION else 3  # version, serial number, signature, issuer
    for _ in range(before_validity):
        _, _, at = _element(der, at)
    _, at, _ = _element(der, at, SEQUENCE)  # Validity
    _, _, at = _element(der, at)  # notBefore
    tag, at, end = _element(der, at)
    text = der[at:end].decode("ascii")
    if tag == UTC_TIME:
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != GENERALIZED_TIME:
        raise ValueError(f"tag {tag:#x} where a date should be")
    return float(calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ")))


def _element(der: bytes, at: int, wanted: int = 0) -> tuple[int, int, int]:
    """Tag, begin and end of what is in the element at `at`."""
    tag, length = der[at], der[at + 1]
    begin = at + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(der[begin : begin + size], "big")
        begin += size
    if (wanted and tag != wanted) or begin + length > len(der):
        raise ValueError("not a certificate")
    return tag, begin, begin + length
