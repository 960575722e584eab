"""Half and full duplex: whose words count while the agent has the floor. Two strategies, pure."""

from __future__ import annotations

from typing import Protocol

from actors.evidence import Evidence, Judge, Verdict


class Duplex(Protocol):
    """How the caller's voice is taken while an answer is being thought of or spoken."""

    def listens(self, agent_has_floor: bool) -> bool:
        """Whether speech that begins now counts at all."""
        ...

    def judge(self, evidence: Evidence) -> Verdict:
        """What to do about speech that overlaps the agent's."""
        ...

    @property
    def verdict_ms(self) -> float:
        """How long after its end a verdict may wait for the words."""
        ...


class HalfDuplex:
    """One at a time: what is said over the agent is not heard (ENABLE_BARGE_IN=0)."""

    verdict_ms = 0.0

    def listens(self, agent_has_floor: bool) -> bool:
        return not agent_has_floor

    def judge(self, evidence: Evidence) -> Verdict:
        return "wait" if evidence.ended_ms is None else "restore"


class FullDuplex:
    """The caller may talk over the agent; what he says decides whether he takes the floor."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    @property
    def verdict_ms(self) -> float:
        return self._judge.limits.verdict_ms

    def listens(self, agent_has_floor: bool) -> bool:
        return True

    def judge(self, evidence: Evidence) -> Verdict:
        return self._judge(evidence)
