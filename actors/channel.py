"""Sound and marks of one channel go in, in any number of copies; a recogniser is fed, segments come out.

Pure: it holds positions and the last seconds of sound, and knows what is owed: utterances that have begun
and have no final words. Without a session it only keeps account, so that nothing is lost meanwhile.
Positions are samples at 16 kHz. The rule of the whole: each sample belongs to one segment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.segments import Segment
from engines.protocols import Hypothesis, Spoken
from schemas import Word

SAMPLES_PER_MS = 16
RING_MS = 3000
"""Sound kept before an onset: more than the pre-roll, since the onset is reported late."""
RING = RING_MS * SAMPLES_PER_MS
LEAST_PREROLL = 200 * SAMPLES_PER_MS
"""So much sound before an onset is an utterance's, though another may have gone on until then."""
LONGEST_SILENCE = 5000 * SAMPLES_PER_MS
"""Longer holes are not filled, and marks further ahead than that are not believed."""
QUIET_EVERY = 5000 * SAMPLES_PER_MS
"""How much quiet goes into the transcript at a time."""


class Feeds(Protocol):
    """What a session is fed with; see engines.protocols.SttSession."""

    def begin(self, utterance: int, first: int) -> None: ...

    def feed(self, pcm: bytes) -> None: ...

    def finish(self) -> None: ...

    def settle(self) -> None: ...

    def resume(self) -> None: ...

    def look_again(self) -> bool:
        """A second look at what was finished last; False: it can't."""
        ...


@dataclass
class Utterance:
    """Speech named by its onset; the recogniser gets samples [start, end). `end` None: it goes on."""

    onset: int
    start: int
    end: int | None = None
    more: bool = False
    second: bool = False
    """A second look at it was ordered."""


class Channel:
    """One channel of one call."""

    def __init__(
        self, number: int, known: Sequence[Segment], preroll: int, longest: int, speaker: str = ""
    ) -> None:
        """`known`: what a predecessor wrote. `preroll`, `longest` utterance: samples."""
        mine = [segment for segment in known if segment.channel == number and segment.covers]
        self.number, self._preroll, self._longest, self._speaker = number, preroll, longest, speaker
        self.covered_to = self.heard_to = self._fed_to = self._taken_to = (
            mine[-1].end if mine else 0
        )
        self.owed: deque[Utterance] = deque()
        self.current: Utterance | None = None
        self.session: Feeds | None = None
        self.look_at = 0
        """Utterances of up to so many samples are looked at twice."""
        self._settled_at: int | None = None
        """How much voice there was when the words were settled; None while they are open."""
        self._ring: deque[tuple[int, bytes]] = deque()
        named = [segment.utterance for segment in mine if segment.utterance is not None]
        self._last_onset = max(named, default=-1)
        spoken = [segment for segment in mine if segment.utterance is not None]
        if spoken and spoken[-1].more:  # its end was not heard by the predecessor
            self._begin(self._last_onset, self.heard_to)

    # -- in --------------------------------------------------------------------------------------

    def frame(self, first: int, pcm: bytes) -> None:
        """The next sound. What is known is skipped; a hole must have been filled or given up before."""
        known = max(0, self.heard_to - first)
        first, pcm = first + known, pcm[2 * known :]
        if not pcm:
            return
        if first > self.heard_to:
            raise ValueError(f"samples {self.heard_to} to {first} are missing")
        self._ring.append((first, pcm))
        self.heard_to = first + len(pcm) // 2
        while self._ring[0][0] + len(self._ring[0][1]) // 2 < self.heard_to - RING:
            self._ring.popleft()
        if self.current is not None:
            self._give(first, pcm)
            if self._fed_to - self.current.start >= self._longest:
                self._split(self.current)

    def skip(self, to: int) -> None:
        """Samples before `to` are lost, too many to put silence in their place."""
        self.ended()
        self._ring.clear()
        self.heard_to = self._fed_to = self._taken_to = to

    def started(self, onset: int) -> None:
        """Speech has begun. From the pre-roll on: its first syllables came before it was detected."""
        if onset <= self._last_onset or onset > self.heard_to + LONGEST_SILENCE:
            return
        self.ended()
        self._last_onset = onset
        start = max(onset - self._preroll, self._taken_to, 0)
        kept = [(first, pcm) for first, pcm in self._ring if first + len(pcm) // 2 > start]
        if kept:
            start = max(start, kept[0][0])
        try:
            self._begin(onset, start)
            for first, pcm in kept:
                self._give(first, pcm)
        finally:  # a session that dies of it changes nothing in the account
            self._fed_to = max(self._fed_to, self.heard_to)

    def paused(self, onset: int, voiced: int, silent: int, lull: int) -> None:
        """Speech goes on: settle the words at a lull; open them again when there was voice since."""
        if self.session is None or self.current is None or self.current.onset != onset:
            return
        if self._settled_at is not None and self._settled_at != voiced:
            self.session.resume()
            self._settled_at = None
        if self._settled_at is None and silent >= lull:
            self.session.settle()
            self._settled_at = voiced

    def ended(
        self,
        onset: int | None = None,
        voiced: int | None = None,
        look: bool = True,
        masked_at: int | None = None,
    ) -> None:
        """Speech has ended; that of `onset`, and no later one, if it is named. `look`: words may matter.

        `masked_at`: there a voice began above it, whose first syllables it was given: not its own.
        Words that were settled are open again unless there was just as much voice then: what came since
        may not have been told.
        """
        if self.current is None or (onset is not None and onset < self.current.onset):
            return
        end = self._fed_to if masked_at is None else min(self._fed_to, masked_at - LEAST_PREROLL)
        self.current.end = self._taken_to = max(end, self.current.start)
        utterance, self.current = self.current, None
        if self.session is not None:
            if self._settled_at not in (None, voiced):
                self.session.resume()
            self.session.finish()
            short = self._taken_to - utterance.start <= self.look_at and not utterance.more
            utterance.second = look and short and self.session.look_again()

    def _begin(self, onset: int, start: int) -> None:
        self.current = Utterance(onset, start)
        self.owed.append(self.current)
        self._fed_to, self._settled_at = start, None
        if self.session is not None:
            self.session.begin(onset, start)

    def _split(self, utterance: Utterance) -> None:
        """Speech longer than an engine should hold goes on under the same name."""
        utterance.more = True
        self.ended()
        self._begin(utterance.onset, self._fed_to)

    def _give(self, first: int, pcm: bytes) -> None:
        known = max(0, self._fed_to - first)
        if 2 * known >= len(pcm):
            return
        self._fed_to = first + len(pcm) // 2
        if self.session is not None:
            self.session.feed(pcm[2 * known :])

    # -- a session comes and goes ------------------------------------------------------------------

    def go_live(self, session: Feeds, sounds: Sequence[bytes]) -> None:
        """`session` gets what is owed (`sounds`: one for each of `owed`), and from now on all else."""
        for utterance, sound in zip(self.owed, sounds, strict=True):
            utterance.second = False
            session.begin(utterance.onset, utterance.start)
            session.feed(sound)
            if utterance.end is not None:
                session.finish()
        self.session, self._settled_at = session, None

    def owed_ranges(self) -> list[tuple[int, int]]:
        """The samples of what is owed, as far as they were heard."""
        return [(u.start, self._fed_to if u.end is None else u.end) for u in self.owed]

    # -- out -------------------------------------------------------------------------------------

    def awaits(self, utterance: int) -> bool:
        """Whether a final of that utterance is due now: the oldest owed, and its end was told."""
        return bool(self.owed) and self.owed[0].end is not None and self.owed[0].onset == utterance

    def final(self, guess: Hypothesis, stt_session: str, speaker: str) -> list[Segment]:
        """The words of the oldest utterance owed; the quiet before it comes along.

        `speaker` says what its words don't tell (`Spoken.speaker`, a name here, no label).
        """
        if not self.awaits(guess.utterance):
            return []
        utterance = self.owed.popleft()
        assert utterance.end is not None
        segments = self._quiet_to(utterance.start)
        return segments + self._spoken(
            utterance, guess.text, guess.words, "live", stt_session, speaker
        )

    def batched(self, end: int, guess: Hypothesis | None, stt_session: str) -> list[Segment]:
        """The words of all samples up to `end`, from the batch engine; None when all of it was quiet.

        Each word goes to the utterance it lies in, or the next one.
        """
        words = list(guess.words) if guess is not None else []
        segments: list[Segment] = []
        while self.owed and (until := self.owed[0].end) is not None and until <= end:
            utterance = self.owed.popleft()
            last = not self._complete_before(end)
            mine = [word for word in words if last or word.start < until]
            words = [word for word in words if not (last or word.start < until)]
            segments += self._quiet_to(utterance.start)
            text = " ".join(word.text for word in mine)
            if last and guess is not None and not guess.words and not segments_have_text(segments):
                text = guess.text
            spoken = self._spoken(utterance, text, mine, "batch", stt_session, self._speaker)
            segments += spoken
        return segments + self._quiet_to(end)

    def _complete_before(self, end: int) -> bool:
        return bool(self.owed) and self.owed[0].end is not None and self.owed[0].end <= end

    def quiet(self, now: bool = False) -> list[Segment]:
        """Quiet that no later onset can reach back into; `now`: all of it, the call is over."""
        if self.owed:
            return []
        to = self.heard_to if now else self.heard_to - RING
        return self._quiet_to(to) if now or to - self.covered_to >= QUIET_EVERY else []

    def cut(self, now: bool = False) -> int:
        """Where a batch chunk may end: between utterances, or anywhere `now` that the call is over."""
        if self.current is not None:
            return max(self.covered_to, self.current.start)
        return self.heard_to if now else max(self.covered_to, self._taken_to, self.heard_to - RING)

    def _spoken(
        self,
        utterance: Utterance,
        text: str,
        words: Sequence[Spoken],
        kind: str,
        stt_session: str,
        speaker: str,
    ) -> list[Segment]:
        """A segment; another one wherever somebody else goes on."""
        assert utterance.end is not None
        if utterance.end <= utterance.start:
            return []
        self.covered_to = utterance.end
        runs = _runs(words, utterance.start, utterance.end)
        ends = [*(start for start, _ in runs[1:]), utterance.end]
        return [
            Segment(
                channel=self.number,
                start=start,
                end=end,
                kind=kind,  # type: ignore[arg-type] # "live" or "batch"
                text=text if len(runs) == 1 else " ".join(word.text for word in said),
                speaker=_name(said) or speaker or self._speaker,
                stt_session=stt_session,
                utterance=utterance.onset,
                more=utterance.more or end < utterance.end,
                words=tuple(Word(word.text, word.start, word.end) for word in said),
            )
            for (start, said), end in zip(runs, ends, strict=True)
        ]

    def _quiet_to(self, end: int) -> list[Segment]:
        if end <= self.covered_to:
            return []
        start, self.covered_to = self.covered_to, end
        self._taken_to = max(self._taken_to, end)
        return [
            Segment(channel=self.number, start=start, end=end, kind="quiet", speaker=self._speaker)
        ]


def segments_have_text(segments: Sequence[Segment]) -> bool:
    """Whether any of them says something."""
    return any(segment.text for segment in segments)


def _runs(words: Sequence[Spoken], start: int, end: int) -> list[tuple[int, list[Spoken]]]:
    """Samples [start, end) cut where the speaker changes: where each run begins, and its words.

    A word without a speaker goes to the one before; so does a run that begins outside what is left.
    """
    runs: list[tuple[int, list[Spoken]]] = [(start, [])]
    for word in words:
        before = _name(runs[-1][1])
        if word.speaker and before not in ("", word.speaker) and runs[-1][0] < word.start < end:
            runs.append((word.start, []))
        runs[-1][1].append(word)
    return runs


def _name(said: Sequence[Spoken]) -> str:
    """The first speaker named in it."""
    return next((word.speaker for word in said if word.speaker), "")
