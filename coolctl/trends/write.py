"""Ticks into a recording of the same format as the daemon's, without decisions: the header says `imported`.

A daemon's recorder secures every row for itself. Here a whole log is at hand and can be read again, so blocks are
larger, and the file gets its name only when it is complete.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from coolctl.control.tick import GatewayView
from coolctl.errors import TrendError
from coolctl.recording import ROWS_MAX, SUFFIX, encode_block, encode_header, run_name
from coolctl.site import Site
from coolctl.trace import NO_GRANT, Unpacker, columns

F64 = NDArray[np.float64]
BLOCK_BYTES, BLOCK_ROWS_MIN = 48 << 20, 60
SEGMENT_ROWS = 86400 * 7


class RowWriter:
    """Writes the inputs of ticks as a run under `folder`; nothing is ever overwritten."""

    def __init__(self, folder: Path, site: Site, header: dict[str, Any]):
        unpack = Unpacker(site)
        self.points = unpack.points
        names = columns(site)[: unpack.decision_at]
        self._header = {**header, "columns": names}
        self._folder = folder
        self._name = run_name(folder, site.name)
        rows = min(max(BLOCK_BYTES // (8 * len(names)), BLOCK_ROWS_MIN), ROWS_MAX)
        self._block = np.full((len(names), rows), np.nan)
        view = GatewayView()
        gateway = (view.age_s, float(view.confirmed), float(view.hand), float(view.overrun), NO_GRANT, float(view.held))
        self._block[unpack.gateway_at : unpack.override_at] = np.array(gateway)[:, None]
        self._filled = self._number = self._in_segment = 0
        self.rows = 0
        self._stream: BinaryIO | None = None
        self._paths: list[tuple[Path, Path]] = []

    def append(self, t_s: F64, value: F64, age_s: F64, quality: F64) -> None:
        """Ticks: times, and points × ticks. Raises `TrendError` where the disk does not take them."""
        n, at = self.points, 0
        while at < len(t_s):
            count = min(len(t_s) - at, self._block.shape[1] - self._filled)
            here, there = slice(self._filled, self._filled + count), slice(at, at + count)
            self._block[0, here] = t_s[there]
            for k, part in enumerate((value, age_s, quality)):
                self._block[1 + k * n : 1 + (k + 1) * n, here] = part[:, there]
            self._filled, at = self._filled + count, at + count
            if self._filled == self._block.shape[1]:
                self._flush()

    def _flush(self) -> None:
        if not self._filled:
            return
        try:
            if self._stream is None or self._in_segment >= SEGMENT_ROWS:
                self._open()
            assert self._stream is not None
            self._stream.write(encode_block(self._block[:, : self._filled], self.rows))
        except OSError as error:
            raise TrendError(self._folder, None, f"cannot be written: {error.strerror}") from error
        self.rows += self._filled
        self._in_segment += self._filled
        self._filled = 0

    def _open(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        final = self._folder / f"{self._name}-{self._number:04d}{SUFFIX}"
        part = final.with_suffix(".part")
        self._stream = part.open("xb")
        self._stream.write(encode_header(self._header))
        self._paths.append((part, final))
        self._number, self._in_segment = self._number + 1, 0

    def event(self, frame: bytes) -> None:
        """A frame of events behind the last row."""
        self._flush()
        if self._stream is not None:
            self._stream.write(frame)

    def close(self) -> Path | None:
        """Write what is left and give the files their names; the first one, or None where there was nothing to write."""
        self._flush()
        try:
            if self._stream is not None:
                self._stream.flush()
                os.fsync(self._stream.fileno())
                self._stream.close()
            for part, final in self._paths:
                part.rename(final)
        except OSError as error:
            raise TrendError(self._folder, None, f"cannot be written: {error.strerror}") from error
        return self._paths[0][1] if self._paths else None

    def discard(self) -> None:
        """Leave no unfinished file behind; what `close` has named stays."""
        if self._stream is not None:
            self._stream.close()
        for part, _ in self._paths:
            part.unlink(missing_ok=True)
