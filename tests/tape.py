"""In comes who says what at which millisecond; out go the records of a call made by hand."""

from __future__ import annotations

from bus.recording import Record
from bus.wire import Lane
from schemas import (
    AgentPcm,
    CallOpened,
    Ducked,
    Event,
    LinePcm,
    LlmFinished,
    LlmStarted,
    PlaybackFinished,
    PlaybackStarted,
    Respond,
    RoundRow,
    Sentence,
    Speech,
    SpeechEnded,
    SpeechStarted,
    Stamp,
    TurnCancelled,
    TurnEnded,
    TurnStarted,
)

CALL = "01JDEMO0000000000000000000"
ZERO_NS = 5_000_000_000
BASE = 1_700_000_000_000
"""Turn ids are seeded from the wall clock."""

STORY = "once upon a time there was a small ship that sailed around the whole wide world"
CALM = (
    RoundRow(actor="audio_in", verdict="released", fenced_ms=0.4, released_ms=0.4),
    RoundRow(actor="stt", verdict="released", fenced_ms=0.5, released_ms=0.5),
    RoundRow(
        actor="llm", verdict="released", fenced_ms=0.6, released_ms=14.2, stopped={"tokens": 17}
    ),
    RoundRow(
        actor="tts", verdict="released", fenced_ms=0.7, released_ms=3.1, stopped={"busy_ms": 2.25}
    ),
    RoundRow(
        actor="playback",
        verdict="released",
        fenced_ms=0.8,
        released_ms=0.9,
        stopped={"samples_unplayed": 12345},
    ),
)


class Tape:
    """A call under construction: what is said at which millisecond of it."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def say(self, ms: float, source: str, *events: Event, lane: Lane = "events") -> None:
        at_ns = ZERO_NS + round(ms * 1e6)
        for event in events:
            stamp = Stamp(source=source, inc=1, seq=len(self.records), at_ns=at_ns)
            self.records.append(Record(at_ns + 80_000, lane, stamp, event, []))

    def caller(self, until_ms: int) -> None:
        """The line's frames of 20 ms: each leaves when its last sample is there."""
        for ms in range(0, until_ms, 20):
            pcm = LinePcm(call=CALL, first=ms * 8, rate=8_000, pcm=bytes(320))
            self.say(ms + 20, "line", pcm, lane="media")

    def agent(self, turn: int, since_ms: int, until_ms: int) -> None:
        for ms in range(since_ms, until_ms, 20):
            pcm = AgentPcm(call=CALL, turn=turn, first=(ms - since_ms) * 16, pcm=bytes(640))
            self.say(ms, "playback", pcm, lane="media")

    def answer(self, turn: int, asked: str, spoken_ms: tuple[int, int], thought_ms: int) -> None:
        """A turn from the caller's words (at `spoken_ms`) to the first sound of the answer."""
        onset, end = (ms * 16 for ms in spoken_ms)
        self.say(spoken_ms[0] + 60, "audio_in", SpeechStarted(call=CALL, onset=onset))
        self.say(
            thought_ms - 20, "audio_in", SpeechEnded(call=CALL, onset=onset, end=end, voiced=1)
        )
        started = TurnStarted(call=CALL, turn=turn, text=asked, start=onset, end=end)
        self.say(thought_ms, "turn_manager", started)
        self.say(thought_ms + 1, "turn_manager", Respond(call=CALL, turn=turn, messages=()))
        self.say(thought_ms + 31, "llm", LlmStarted(call=CALL, turn=turn, first_token_ms=30))
        self.say(thought_ms + 71, "llm", Sentence(call=CALL, turn=turn, index=0, text="…"))
        self.say(thought_ms + 91, "tts", Speech(call=CALL, turn=turn, pcm=bytes(640)), lane="media")
        self.say(thought_ms + 99, "playback", PlaybackStarted(call=CALL, turn=turn))

    def cancel(self, ms: float, turn: int, rows: tuple[RoundRow, ...] = CALM) -> None:
        fact = TurnCancelled(
            call=CALL,
            turn=turn,
            reason="barge-in",
            sent_ns=ZERO_NS + round(ms * 1e6),
            rows=rows,
            all_fenced_ms=0.8,
            took_ms=15.0,
        )
        self.say(ms + 15, "turn_manager", fact)

    def end(self, ms: float, turn: int, asked: str, heard: str, answer: str, outcome: str) -> None:
        words = {"asked": asked, "heard": heard, "answer": answer}
        fact = TurnEnded(call=CALL, turn=turn, outcome=outcome, **words)  # type: ignore[arg-type]
        self.say(ms, "turn_manager", fact)

    def finished(self) -> list[Record]:
        return sorted(self.records, key=lambda record: record.at_ns)


def interrupted_call(rows: tuple[RoundRow, ...] = CALM) -> Tape:
    """A story, begun at 2.4 s, talked over at 5.0 s, cut at 5.3 s; then a sum, answered."""
    tape, story, total = Tape(), BASE + 7, BASE + 9
    tape.say(0, "turn_manager", CallOpened(call=CALL, line="call", turn_base=BASE))
    tape.caller(11_000)
    tape.answer(story, "tell me a very long story", (500, 2_000), 2_300)
    tape.agent(story, 2_400, 5_300)
    tape.say(5_084, "playback", Ducked(call=CALL, turn=story, at=42_000, gain_db=-24.0))
    tape.cancel(5_300, story, rows)
    heard = " ".join(STORY.split()[:8])
    tape.end(5_316, story, "tell me a very long story", heard, STORY, "interrupted")
    tape.answer(total, "wait a minute what is twelve times seven", (5_000, 7_200), 7_500)
    tape.agent(total, 7_600, 9_600)
    done = PlaybackFinished(call=CALL, turn=total, samples=32_000, rate=16_000)
    tape.say(9_620, "playback", done)
    says = "Twelve times seven is eighty-four."
    tape.end(9_630, total, "wait a minute what is twelve times seven", says, says, "completed")
    return tape


def calm_call() -> list[Record]:
    """One question, one answer, nobody talks over anybody."""
    tape = Tape()
    tape.caller(5_000)
    tape.answer(BASE + 1, "what time is it", (500, 1_500), 1_800)
    tape.agent(BASE + 1, 1_900, 3_000)
    tape.say(3_000, "llm", LlmFinished(call=CALL, turn=BASE + 1, sentences=1, tokens=5))
    tape.end(3_020, BASE + 1, "what time is it", "It is noon.", "It is noon.", "completed")
    return tape.finished()
