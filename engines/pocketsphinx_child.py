"""The process that owns one pocketsphinx decoder: `python -P -m engines.pocketsphinx_child PARTIAL_MS`.

What it is told and tells: `engines/decoder_wire.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from engines import short_phrases
from engines.decoder_wire import SAMPLES_PER_MS, run
from engines.protocols import Hypothesis, Spoken
from engines.wide_band import WideBand

BLOCK_BYTES = 640
"""The decoder gets 20 ms at a time whatever the packets were: equal sound, equal text."""
FRAME_SAMPLES = 160
"""pocketsphinx counts time in frames of 10 ms."""
SETTLE_BYTES = 2 * 10_000 * SAMPLES_PER_MS
"""An utterance of more than 10 s is not settled: resumed, it is decoded again (at 0.15 times real time)."""
SCORE_SCALE = 1024
"""pocketsphinx keeps scores in units of 2^10 logs: what it calls a probability is its 1024th root."""
TINY = 1e-300
MOST_NATS = 200.0
"""What differs by more was lost to the decoder's beams."""
ONLY_ONE_FITS = 60.0
"""Nats that count where the other list found nothing at all."""
WORDS, BACKCHANNEL, COMMAND = "_default", "backchannel", "command"
MOST_ACTIVE = {WORDS: 3000, BACKCHANNEL: 500, COMMAND: 500}
"""HMMs a frame may keep active. Clean speech keeps fewer; in babble every word is possible, and with the
decoder's own limit (30,000) it works three times as long for the same words
(docs/measurements/2026-11-26-turn-taking.md)."""
CMN_INIT = "47,1.8,0.4,11,-8.1,-0.5,-1.1,-4.4,-1.7,-3.8,2,-2,0.6"
"""Cepstral mean with which a call begins, until its own is known: that of 150 phrases in synthetic voices.

Told by `soak.cepstral_mean`; the first number is a little less, for softer ones. With the decoder's own
the first sentence is understood less well (docs/decisions/0011-a-telephone-made-wide.md).
"""

_FILLER = re.compile(r"<.*>|\[.*\]|\+\+.*\+\+")
_ALTERNATIVE = re.compile(r"\(\d+\)$")


def plain(token: str) -> str:
    """The word of a decoder token: `a(2)` is `a`; fillers such as `<sil>`, `[NOISE]` are ``."""
    return "" if _FILLER.fullmatch(token) else _ALTERNATIVE.sub("", token)


def _nearer(backchannel: float | None, command: float | None) -> float:
    """By how many nats the command fits better."""
    if backchannel is None or command is None:
        return ONLY_ONE_FITS * ((command is not None) - (backchannel is not None))
    return max(-MOST_NATS, min(MOST_NATS, command - backchannel))


def _words_of(hypstr: str) -> str:
    return " ".join(filter(None, map(plain, hypstr.split())))


class Listener:
    """One utterance after another through a decoder; positions are samples of the call.

    The decoder gets a telephone's sound made wide; that trails the rest by a hundredth of a second.
    """

    def __init__(self, decoder: Any, partial_samples: int) -> None:
        self._decoder = decoder
        self._every = partial_samples
        self._utterance = self._first = self._end = self._due = 0
        self._text = ""
        self._rest = bytearray()
        self._sound = bytearray()
        self._settled: Hypothesis | None = None
        self._wide = WideBand()

    def begin(self, utterance: int, first: int) -> None:
        """Start an utterance at sample `first`."""
        self._utterance, self._first, self._end = utterance, first, first
        self._due, self._text = first + self._every, ""
        self._rest.clear()
        self._sound.clear()
        self._settled = None
        self._start()

    def feed(self, pcm: bytes) -> Iterator[Hypothesis]:
        """Decode what fills blocks of 20 ms; partials whose text is new, one each period.

        While settled it is only kept.
        """
        if self._settled is not None or len(self._sound) <= SETTLE_BYTES:
            self._sound += pcm
        if self._settled is None:
            yield from self._take(pcm)

    def _take(self, pcm: bytes) -> Iterator[Hypothesis]:
        self._rest += pcm
        while len(self._rest) >= BLOCK_BYTES:
            self._decode(BLOCK_BYTES)
            if self._end >= self._due:
                self._due += self._every
                yield from self._news()

    def finish(self) -> Hypothesis:
        """Decode what is left over and say what it all was; at once if it has settled."""
        if self._settled is None:
            self._settled = self._whole()
        return replace(self._settled, final=True, settled=False)

    def settle(self) -> Iterator[Hypothesis]:
        """What `finish` would say now.

        The decoder's backward passes take 65 ms (p50, 104 p95): better now than at the end of the wait.
        """
        if self._settled is None and len(self._sound) <= SETTLE_BYTES:
            self._settled = self._whole()
            self._text = self._settled.text
            yield self._settled

    def resume(self) -> Iterator[Hypothesis]:
        """Decode it all again, what came meanwhile included: equal sound, equal text."""
        if self._settled is None:
            return
        self._settled, self._end = None, self._first
        self._rest.clear()
        self._start()
        yield from self._take(bytes(self._sound))

    def again(self) -> Iterator[Hypothesis]:
        """All of the utterance that was finished last at once, with its own mean, and against two lists.

        Bit by bit the decoder takes the mean of the channel from what it heard before: the first words
        over a telephone come out as "hm". 0.2 to 0.6 s; nothing of it changes what is heard next.
        """
        if not self._sound or len(self._sound) > SETTLE_BYTES:
            return
        mean = self._decoder.get_cmn(False)
        wide = WideBand()
        sound = wide.push(bytes(self._sound)) + wide.flush()
        text, _ = self._look(WORDS, sound)
        _, backchannel = self._look(BACKCHANNEL, sound)
        _, command = self._look(COMMAND, sound)
        self._search(WORDS)
        self._decoder.set_cmn(mean)
        nats = _nearer(backchannel, command)
        yield Hypothesis(
            self._utterance, text, self._first, self._end, False, second=round(nats, 1)
        )

    def _look(self, search: str, sound: bytes) -> tuple[str, float | None]:
        """What is found, and its log likelihood in nats; None where nothing fits."""
        self._search(search)
        self._decoder.start_utt()
        self._decoder.process_raw(sound, full_utt=True)
        self._decoder.end_utt()
        best = self._decoder.hyp()
        if best is None or not (text := _words_of(best.hypstr)):
            return "", None
        return text, math.log(max(best.score, TINY)) * SCORE_SCALE

    def _search(self, name: str) -> None:
        self._decoder.activate_search(name)
        self._decoder.config["maxhmmpf"] = MOST_ACTIVE[name]  # looked at anew in every frame

    def _start(self) -> None:
        self._wide = WideBand()
        self._decoder.start_utt()

    def _whole(self) -> Hypothesis:
        self._decode(len(self._rest) & ~1)
        if rest := self._wide.flush():
            self._decoder.process_raw(rest)
        self._decoder.end_utt()
        words = tuple(self._words())
        text = " ".join(word.text for word in words)
        return Hypothesis(self._utterance, text, self._first, self._end, False, words, settled=True)

    def _decode(self, size: int) -> None:
        if size:
            if wide := self._wide.push(bytes(self._rest[:size])):
                self._decoder.process_raw(wide)
            self._end += size // 2
            del self._rest[:size]

    def _news(self) -> Iterator[Hypothesis]:
        best = self._decoder.hyp()
        text = _words_of(best.hypstr) if best else ""
        if text != self._text:
            self._text = text
            yield Hypothesis(self._utterance, text, self._first, self._end, final=False)

    def _words(self) -> Iterator[Spoken]:
        for segment in self._decoder.seg() or ():
            if text := plain(segment.word):
                end = self._sample(segment.end_frame + 1)
                yield Spoken(text, self._sample(segment.start_frame), end)

    def _sample(self, frame: int) -> int:
        return min(self._first + frame * FRAME_SAMPLES, self._end)


def load_decoder() -> Any:
    """With both lists of short phrases beside the language model, which is the one in use."""
    from pocketsphinx import Decoder  # here: the parent imports this module for its messages

    # a grammar that does not fit is an error to it, which nobody should read
    decoder = Decoder(loglevel="FATAL", maxhmmpf=MOST_ACTIVE[WORDS], cmninit=CMN_INIT)
    for name, grammar in (
        (BACKCHANNEL, short_phrases.BACKCHANNELS),
        (COMMAND, short_phrases.COMMANDS),
    ):
        decoder.add_jsgf_string(name, grammar)
    decoder.activate_search(WORDS)
    return decoder


if __name__ == "__main__":
    run(lambda partial_samples: Listener(load_decoder(), partial_samples))
