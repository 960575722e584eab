"""Deepgram's live protocol without a socket: results in, hypotheses out; addresses and orders. Pure.

Protocol: https://developers.deepgram.com/docs/live-streaming-audio. Times in its results are seconds of
sound sent on this connection; silence that was never sent does not count. `Finalize` asks for the words
of all sound sent so far, and is usually, not always, answered by a result marked `from_finalize`. Hence:
an utterance is over when results reach its end, or when its owner has waited long enough (`give_up`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from engines.protocols import EngineError, Hypothesis, Spoken

RATE = 16_000
FINALIZE = '{"type": "Finalize"}'
KEEP_ALIVE = '{"type": "KeepAlive"}'
CLOSE_STREAM = '{"type": "CloseStream"}'
TOLERANCE = RATE // 20
"""Samples (50 ms) by which a result may end before the sound it covers: times come rounded."""
NOTICEABLE = RATE * 3 // 10
"""Samples (300 ms). With more of them unheard an unanswered `Finalize` is a fault: words are missing."""
SCHEMES = {"ws": "http", "wss": "https"}


class Said(msgspec.Struct, frozen=True):
    """One word; seconds of sound sent."""

    word: str
    start: float
    end: float
    punctuated_word: str = ""
    speaker: int | None = None

    @property
    def text(self) -> str:
        return self.punctuated_word or self.word


class Alternative(msgspec.Struct, frozen=True):
    transcript: str = ""
    words: tuple[Said, ...] = ()


class Heard(msgspec.Struct, frozen=True):
    alternatives: tuple[Alternative, ...] = ()


class Results(msgspec.Struct, frozen=True, tag_field="type"):
    """Words of a stretch of sound; an interim one is replaced by the next for the same stretch."""

    start: float
    duration: float
    channel: Heard
    is_final: bool = False
    from_finalize: bool = False
    channel_index: tuple[int, ...] = (0, 1)

    @property
    def words(self) -> tuple[Said, ...]:
        """Of the likeliest reading; one long word if the server times no words."""
        if not self.channel.alternatives:
            return ()
        best = self.channel.alternatives[0]
        if best.words or not best.transcript:
            return best.words
        return (Said(best.transcript, self.start, self.start + self.duration),)


class _Kind(msgspec.Struct):
    type: str = ""


_kind = msgspec.json.Decoder(_Kind).decode
_results = msgspec.json.Decoder(Results).decode


def decode(message: str | bytes) -> Results | None:
    """Results; None for kinds of message that carry no words. Raises EngineError for garbage."""
    try:
        return _results(message) if _kind(message).type == "Results" else None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineError(f"Deepgram sent what is no message of its protocol: {error}") from None


def live_url(url: str, model: str, language: str, diarize: bool) -> str:
    """Where a live session is opened: mono linear PCM at 16 kHz, interim results."""
    asked = _asked(model, language, diarize)
    asked |= {"encoding": "linear16", "sample_rate": str(RATE), "channels": "1"}
    return _with(url, asked | {"interim_results": "true", "endpointing": "false"})


def batch_url(url: str, model: str, language: str, diarize: bool) -> str:
    """Where recorded sound is posted: the same address over HTTP."""
    parts = urlsplit(url)
    plain = urlunsplit(parts._replace(scheme=SCHEMES.get(parts.scheme, parts.scheme)))
    return _with(plain, _asked(model, language, diarize))


def _asked(model: str, language: str, diarize: bool) -> dict[str, str]:
    asked = {"model": model, "language": language}
    return asked | {"diarize": "true"} if diarize else asked


def _with(url: str, asked: dict[str, str]) -> str:
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(asked)}"


def spoken(words: Iterable[Said], shift: int) -> tuple[Spoken, ...]:
    """Words with samples and speakers, `shift` samples later than the sound that was sent."""
    return tuple(
        Spoken(
            word.text,
            round(word.start * RATE) + shift,
            round(word.end * RATE) + shift,
            "" if word.speaker is None else str(word.speaker),
        )
        for word in words
    )


def speaker_of(words: Iterable[Said]) -> str:
    """Who said most of them; "" when the server was not asked to tell."""
    heard = Counter(word.speaker for word in words if word.speaker is not None)
    return str(heard.most_common(1)[0][0]) if heard else ""


@dataclass
class _Utterance:
    """Samples count from the first one sent on the connection; `shift` makes them the call's."""

    number: int
    begin: int
    shift: int
    end: int | None = None
    settle: int | None = None
    final: list[Said] = field(default_factory=list)
    interim: tuple[Said, ...] = ()

    def hypothesis(self, sent: int, *, final: bool = False, settled: bool = False) -> Hypothesis:
        words = (*self.final, *self.interim)
        return Hypothesis(
            utterance=self.number,
            text=" ".join(word.text for word in words),
            start=self.begin + self.shift,
            end=(sent if self.end is None else self.end) + self.shift,
            final=final,
            words=spoken(words, self.shift),
            speaker=speaker_of(words),
            settled=settled,
        )


class Ledger:
    """Which words belong to which utterance, and which utterances are still owed theirs."""

    def __init__(self) -> None:
        self.sent = 0
        """Samples sent."""
        self.worked_on = 0
        """Samples that results reach to."""
        self.late_words = 0
        """Words that came for an utterance already given up."""
        self._covered = 0
        self._utterances: deque[_Utterance] = deque()

    @property
    def open(self) -> bool:
        """Whether an utterance is begun and not finished."""
        return bool(self._utterances) and self._utterances[-1].end is None

    @property
    def owed(self) -> int:
        """Utterances finished and still without their final."""
        return len(self._utterances) - self.open

    @property
    def newest(self) -> int:
        """The utterance begun last."""
        return self._utterances[-1].number

    def begin(self, utterance: int, first: int) -> None:
        """The sound sent from now on is that of the call from sample `first` on."""
        self._utterances.append(_Utterance(utterance, self.sent, first - self.sent))

    def fed(self, samples: int) -> None:
        """So many were sent."""
        self.sent += samples

    def settle(self) -> None:
        """`Finalize` was sent in the middle of the utterance."""
        self._utterances[-1].settle = self.sent

    def resume(self) -> None:
        """It goes on."""
        self._utterances[-1].settle = None

    def finish(self) -> list[Hypothesis]:
        """It ends here. Its final, if a settled pause came last; else `Finalize` must be sent for it."""
        utterance = self._utterances[-1]
        utterance.end, utterance.settle = self.sent, None
        return self._finals()

    def take(self, results: Results) -> list[Hypothesis]:
        """What these results make known."""
        reach = min(self.sent, round((results.start + results.duration) * RATE))
        self.worked_on = max(self.worked_on, reach)
        if results.is_final:
            self._covered = max(self._covered, reach)
        said = self._sort_in(results)
        return [*said, *self._settled(), *self._finals()]

    def lacks(self, utterance: int) -> int:
        """Samples at its end that no result, interim or final, has reached."""
        ends = [known.end for known in self._utterances if known.number == utterance]
        return max(0, ends[0] - self.worked_on) if ends and ends[0] is not None else 0

    def give_up(self, utterance: int) -> list[Hypothesis]:
        """The owner has waited long enough for this one: what is known of it is its final."""
        for known in self._utterances:
            if known.number == utterance and known.end is not None:
                self._covered = max(self._covered, known.end)
        return self._finals()

    def _sort_in(self, results: Results) -> list[Hypothesis]:
        """By the middle of each word; a final piece stays, an interim one is replaced."""
        mine: dict[int, list[Said]] = {}
        for word in results.words:
            middle = round((word.start + word.end) / 2 * RATE)
            at = self._at(middle)
            if at is None:
                self.late_words += 1
            else:
                mine.setdefault(at, []).append(word)
        told = []
        for at, utterance in enumerate(self._utterances):
            was, words = (len(utterance.final), utterance.interim), mine.get(at, [])
            touched = results.start * RATE < (utterance.end or self.sent) and (
                (results.start + results.duration) * RATE > utterance.begin
            )
            if results.is_final and touched:
                utterance.final += words
                utterance.interim = ()
            elif words:
                utterance.interim = tuple(words)
            if was != (len(utterance.final), utterance.interim):
                told.append(utterance.hypothesis(self.sent))
        return told

    def _at(self, middle: int) -> int | None:
        """The utterance in which a sample lies, None if it is over."""
        for at, utterance in enumerate(self._utterances):
            if utterance.end is None or middle < utterance.end:
                return at if middle >= utterance.begin - TOLERANCE else None
        return len(self._utterances) - 1 if self._utterances else None

    def _settled(self) -> list[Hypothesis]:
        if not self.open:
            return []
        utterance = self._utterances[-1]
        if utterance.settle is None or self._covered < utterance.settle - TOLERANCE:
            return []
        utterance.settle = None
        return [utterance.hypothesis(self.sent, settled=True)]

    def _finals(self) -> list[Hypothesis]:
        """In order, each once."""
        done = []
        while self._utterances:
            first = self._utterances[0]
            if first.end is None or self._covered < first.end - TOLERANCE:
                break
            self._utterances.popleft()
            self.worked_on = max(self.worked_on, first.end)
            done.append(first.hypothesis(self.sent, final=True))
        return done
