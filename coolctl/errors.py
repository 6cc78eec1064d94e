"""The few exceptions that cross module borders, each with the facts as attributes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_CHECK_FAILED, EXIT_UNREACHABLE, EXIT_CONFIG = 0, 1, 2, 3, 69, 78


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a configuration file."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: {self.message}"


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint naming the closest known word, whatever its case; or nothing."""
    by_case = {k.casefold(): k for k in known}
    close = difflib.get_close_matches(word.casefold(), by_case, 1, 0.6)
    return f" (did you mean {by_case[close[0]]!r}?)" if close else ""


class CoolctlError(Exception):
    """Base of what coolctl raises on purpose; `exit_code` is what the command line returns."""

    exit_code = EXIT_FAILED


class ConfigError(CoolctlError):
    """A site or equipment file is wrong. Carries every fault, not only the first."""

    exit_code = EXIT_CONFIG

    def __init__(self, faults: list[Fault]):
        self.faults = faults
        super().__init__("\n".join(str(f) for f in faults))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[Fault]]]:
        return type(self), (self.faults,)  # survives the way back from a worker process


class ModelError(CoolctlError):
    """A policy file or its passport is refused; the message says what and where."""

    exit_code = EXIT_CHECK_FAILED


class RecordingError(CoolctlError):
    """A recording cannot be read; what lies before the damage is still recovered by the reader."""

    exit_code = EXIT_FAILED


class ForeignRecording(RecordingError):
    """A recording whose ticks this version, or this site, cannot read as they were."""

    exit_code = EXIT_CHECK_FAILED


class TrendError(CoolctlError):
    """A trend log cannot be read; the message begins with the file, and with the line where there is one."""

    exit_code = EXIT_FAILED

    def __init__(self, path: object, line: int | None, message: str):
        self.path, self.line = str(path), line
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")


class WrongSite(CoolctlError):
    """A site file was named that does not go with what it was named for."""

    exit_code = EXIT_USAGE


class BrokerUnreachable(CoolctlError):
    """No MQTT broker answers at the configured address."""

    exit_code = EXIT_UNREACHABLE
