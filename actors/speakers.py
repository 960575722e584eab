"""Speaker labels of an engine's session go in, names that last as long as the session come out. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from engines.protocols import Spoken


class Speakers:
    """One channel. An engine numbers its speakers anew in each session: names begin anew too."""

    def __init__(self, channel: int = 0) -> None:
        self._default = "caller" if channel == 0 else f"caller {channel + 1}"
        self._session = ""
        self._names: dict[str, str] = {}

    def reset(self, session: str) -> None:
        """`session` begins; what was matched before holds no more."""
        self._session = session
        self._names.clear()

    def name(self, session: str, label: str) -> str | None:
        """Who `label` is; None when the match was made in a session that is over."""
        if session != self._session:
            return None
        if not label:
            return self._default
        return self._names.setdefault(label, f"{self._default} #{len(self._names) + 1}")

    def named(self, session: str, words: Iterable[Spoken]) -> tuple[Spoken, ...]:
        """Words with names for their labels; those that have none, or an old one, get none."""
        return tuple(
            replace(word, speaker=self.name(session, word.speaker) or "") if word.speaker else word
            for word in words
        )

    @property
    def default(self) -> str:
        """Who speaks on this channel when the engine does not say."""
        return self._default
