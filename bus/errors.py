"""The error tree: in comes what went wrong, out go one line for the operator and an exit code.

BargeinError
├── SettingsError         fleet.toml or the environment is wrong; correct it (78: not restarted)
│   └── PathTooLong       a socket path does not fit; move the project
├── AddressTaken          another process holds the address; stop that one
├── WireError             frames that are no event of this version; counted and dropped
├── NoAnswer              a door did not answer in time
├── FleetAlreadyRunning   `bargein up` twice
├── FleetNotRunning       `bargein up` first
└── FleetError            the fleet can't be started or steered; the message says what to do
"""

from __future__ import annotations

from typing import ClassVar


class BargeinError(Exception):
    """Root of all errors meant for the operator: one line that says what to do next."""

    exit_code: ClassVar[int] = 1


class SettingsError(BargeinError):
    """Configuration: restarting can't help, so supervisord leaves a process that exits 78 alone."""

    exit_code = 78


class PathTooLong(SettingsError):
    """The path of a unix socket does not fit its 107 bytes."""


class AddressTaken(BargeinError):
    """A living process has bound the address already."""

    exit_code = 73


class WireError(BargeinError):
    """Frames that are no event of this version; the leaves are in bus/wire.py."""

    exit_code = 76
    counter: ClassVar[str] = "malformed"


class NoAnswer(BargeinError):
    """A door did not answer in time."""

    exit_code = 69


class FleetAlreadyRunning(BargeinError):
    """A supervisord of this home is alive."""

    exit_code = 73


class FleetNotRunning(BargeinError):
    """There is no supervisord of this home."""

    exit_code = 69


class FleetError(BargeinError):
    """The fleet can't be started or steered."""

    exit_code = 70
