"""What the fleet would make of an utterance that came through a canceller: by its sound and its words.

The real recogniser and rule of interruption, with the fleet's default limits. What the agent is saying is
not told: in the fleet its own words that come back are no interruption, here they would be one.
"""

from __future__ import annotations

from actors.evidence import Evidence, Judge, Limits, Second
from actors.segmenter import Ended
from bus.sections import Stt
from engines.pocketsphinx_child import Listener, load_decoder
from soak.echo_path import RATE

NO_PARTIALS = 3600 * RATE
BEHIND = RATE // 5
"""Samples behind an utterance that are recognised with it."""


class Words:
    """One recogniser for one call after another."""

    def __init__(self) -> None:
        self._decoder = load_decoder()
        self._fresh = self._decoder.get_cmn(False)
        self._judge = Judge(Limits())
        self._before = Stt().preroll_ms * RATE // 1000
        self._second = Stt().second_look_ms * RATE // 1000
        self._line = bytearray()
        self._first = 0

    def call(self) -> None:
        """Another call begins."""
        self._decoder.set_cmn(self._fresh)
        self._line.clear()
        self._first = 0

    def hear(self, pcm: bytes) -> None:
        """The next of the line: mono int16 at 16 kHz."""
        self._line += pcm

    def interrupts(self, mark: Ended, floor: float) -> bool:
        """Whether the agent would have stopped for it. `floor`: log-odds by its sound, 0.0: not asked."""
        first = max(self._first, mark.onset - self._before)
        sound = bytes(self._line[2 * (first - self._first) : 2 * (mark.end + BEHIND - self._first)])
        del self._line[: 2 * (first - self._first)]
        self._first = first
        listener = Listener(self._decoder, NO_PARTIALS)
        listener.begin(0, first)
        list(listener.feed(sound))
        words = listener.finish().text
        short = mark.voiced <= self._second
        looks = [Second(look.text, look.second or 0.0) for look in listener.again() if short]
        evidence = Evidence(
            mark.voiced * 1000 / RATE,
            words,
            final=True,
            ended_ms=0.0,
            second=looks[0] if looks else None,
            floor=floor,
            murmur=mark.murmur,
            share=min(1.0, mark.voiced / max(1, mark.end - mark.onset)),
        )
        return self._judge(evidence) == "commit"
