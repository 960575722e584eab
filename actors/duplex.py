"""Half and full duplex: whose words count while the agent has the floor. Two strategies, pure."""

from __future__ import annotations

from typing import Protocol

from actors.evidence import Evidence, Verdict, judge


class Duplex(Protocol):
    """How the caller's voice is taken while an answer is being thought of or spoken."""

    def listens(self, agent_has_floor: bool) -> bool:
        """Whether speech that begins now counts at all."""
        ...

    def judge(self, evidence: Evidence) -> Verdict:
        """What to do about speech that overlaps the agent's."""
        ...


class HalfDuplex:
    """One at a time: what is said over the agent is not heard (ENABLE_BARGE_IN=0)."""

    def listens(self, agent_has_floor: bool) -> bool:
        return not agent_has_floor

    def judge(self, evidence: Evidence) -> Verdict:
        return "restore" if evidence.ended else "wait"


class FullDuplex:
    """The caller may talk over the agent; `commit_ms` of voice or real words take the floor."""

    def __init__(self, commit_ms: float) -> None:
        self._commit_ms = commit_ms

    def listens(self, agent_has_floor: bool) -> bool:
        return True

    def judge(self, evidence: Evidence) -> Verdict:
        return judge(evidence, self._commit_ms)
