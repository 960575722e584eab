"""When the caller speaks next: "agent speaks 2 s", "agent silent 1 s", "12.5 s". Text in, cue out. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from bus.errors import BargeinError

PATTERN = re.compile(
    r"^\s*(?:agent\s+(speaks|silent)\s+)?(\d+(?:\.\d+)?)\s*(ms|s)\s*$", re.IGNORECASE
)


class BadCue(BargeinError):
    """The cue can't be understood."""

    exit_code = 64


@dataclass(frozen=True)
class Cue:
    """`seconds` after the agent began to speak, or after it fell silent, or into the call."""

    kind: Literal["speaks", "silent", "clock"]
    seconds: float


def parse(text: str) -> Cue:
    """Raises BadCue, which lists the forms."""
    match = PATTERN.match(text)
    if match is None:
        raise BadCue(
            f"--at {text!r}: not understood; use 'agent speaks 2 s', 'agent silent 1 s' or '12.5 s'"
        )
    seconds = float(match[2]) / (1000 if match[3].lower() == "ms" else 1)
    kind = (match[1] or "clock").lower()
    return Cue(kind, seconds)  # type: ignore[arg-type] # the pattern allows these three


@dataclass
class Watch:
    """What the line knows: seconds into the call when the agent last began and ended to sound."""

    now_s: float = 0.0
    caller_until_s: float = 0.0
    agent_began_s: float | None = None
    agent_ended_s: float | None = None

    def due(self, cue: Cue) -> bool:
        """Whether the cue has come, counting only what happened since the caller last spoke."""
        if cue.kind == "clock":
            return self.now_s >= cue.seconds
        if cue.kind == "speaks":
            return self._since(self.agent_began_s, self.caller_until_s, cue)
        return self._since(
            self.agent_ended_s, max(self.caller_until_s, self.agent_began_s or 0.0), cue
        )

    def _since(self, instant_s: float | None, not_before_s: float, cue: Cue) -> bool:
        if instant_s is None or instant_s < not_before_s:
            return False
        return self.now_s - instant_s >= cue.seconds
