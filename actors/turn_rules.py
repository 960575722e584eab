"""The rules of one conversation: events and the clock go in, orders and facts come out. Pure.

A `Conversation` is told everything in order through `step(event, at_ns)` and answers with effects;
it knows no socket and no real clock. `deadline_ns` says when it wants to be told the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.caller_side import CallerSide
from actors.duplex import Duplex
from actors.endpointing import EndOfTurn
from actors.evidence import Evidence, is_backchannel
from actors.turn_state import (
    MS,
    SAMPLES_PER_MS,
    AgentTurn,
    Effect,
    Memory,
    Outcome,
    Rules,
    Say,
    Stop,
    Utterance,
)
from schemas import (
    ActorBack,
    CallClosed,
    CancelCall,
    Duck,
    Event,
    Final,
    LinePlayed,
    LlmFinished,
    Message,
    Partial,
    PlaybackFinished,
    PlaybackStarted,
    Respond,
    Restore,
    Sentence,
    SpeechContinued,
    SpeechEnded,
    SpeechStarted,
    SpokenWords,
    TurnEnded,
    TurnStarted,
)

HEARD_WAIT_MS = 300
INTERRUPTED = "[interrupted by the caller]"

__all__ = ["INTERRUPTED", "MS", "Conversation", "Effect", "Memory", "Rules", "Say", "Stop"]


class Conversation:
    """One call, from opened to closed."""

    def __init__(
        self,
        call: str,
        turn_base: int,
        duplex: Duplex,
        rules: Rules,
        end_of_turn: EndOfTurn | None = None,
    ) -> None:
        self.call, self._duplex, self._rules = call, duplex, rules
        self._last_turn = turn_base
        self._turn: AgentTurn | None = None
        self._caller = CallerSide(rules, end_of_turn or rules.end_of_turn())
        self._carried = ""
        self._history: list[Message] = []
        self._deadlines: dict[str, int] = {}
        self._out: list[Effect] = []
        self._now = 0
        self._table: dict[type[Event], Callable[[Any, int], None]] = {
            SpeechStarted: self._on_onset,
            SpeechContinued: self._on_continued,
            SpeechEnded: self._on_speech_ended,
            Partial: self._on_partial,
            Final: self._on_final,
            Sentence: self._on_sentence,
            SpokenWords: self._on_words,
            LlmFinished: self._on_llm_finished,
            PlaybackStarted: self._on_playback_started,
            PlaybackFinished: self._on_playback_finished,
            LinePlayed: self._on_line_played,
            CancelCall: self._on_cancel_asked,
            ActorBack: self._on_actor_back,
            CallClosed: self._on_closed,
        }

    @property
    def deadline_ns(self) -> int | None:
        """When `step` wants to be called even if nothing happens."""
        instants = [*self._deadlines.values(), *self._caller.deadlines(self._now)]
        return min((instant for instant in instants if instant > self._now), default=None)

    @property
    def turn(self) -> int:
        """The turn in progress; 0 when the caller has the floor."""
        return self._turn.number if self._turn else 0

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation as the model is shown it."""
        return (Message("system", self._rules.system_prompt), *self._history)

    def step(self, event: Event, at_ns: int) -> list[Effect]:
        """Take one event (a TurnTick only tells the time); what follows from it, in order."""
        self._out = []
        self._now = at_ns
        if (rule := self._table.get(type(event))) is not None:
            rule(event, at_ns)
        self._on_time()
        return self._out

    def memory(self) -> Memory:
        """What a successor needs to go on with this call."""
        turn = self._turn
        asked = turn.asked if turn else self._carried
        return Memory(self._last_turn, asked, turn is not None, tuple(self._history))

    def recall(self, memory: Memory, at_ns: int) -> list[Effect]:
        """Go on after a crash: what was being answered is cut, for nobody knows what was heard."""
        self._out, self._now = [], at_ns
        self._last_turn = memory.last_turn
        self._history = list(memory.history)
        if memory.answering:
            self._turn = AgentTurn(memory.last_turn, memory.asked, 0, 0)
            self._turn.cancelled, self._turn.detail = "failed", "turn_manager was restarted"
            self._out.append(Stop(memory.last_turn, self._turn.detail))
            self._end_turn(self._turn)
        return self._out

    def say(self, text: str, at_ns: int) -> list[Effect]:
        """Begin a turn with words of our own: a greeting."""
        self._out = []
        self._now = at_ns
        self._begin_turn("", 0, 0, say=text)
        return self._out

    # -- the caller's voice ----------------------------------------------------------------------

    def _on_onset(self, event: SpeechStarted, at_ns: int) -> None:
        floor = self._turn is not None and self._turn.cancelled is None
        utterance = self._caller.begin(event.onset, at_ns, floor, self._duplex.listens(floor))
        if not utterance.dismissed:
            self._deadlines.setdefault("limit", at_ns + int(self._rules.max_turn_ms * MS))

    def _on_continued(self, event: SpeechContinued, at_ns: int) -> None:
        if utterance := self._caller.goes_on(event, at_ns):
            self._weigh(utterance, at_ns)

    def _on_speech_ended(self, event: SpeechEnded, at_ns: int) -> None:
        if utterance := self._caller.ends(event, at_ns):
            self._weigh(utterance, at_ns)

    def _on_partial(self, event: Partial, at_ns: int) -> None:
        if utterance := self._caller.utterances.get(event.utterance):
            utterance.partial, utterance.settled_words = event.text, event.settled
            self._weigh(utterance, at_ns)

    def _on_final(self, event: Final, at_ns: int) -> None:
        if utterance := self._caller.utterances.get(event.utterance):
            utterance.take(event)
            self._weigh(utterance, at_ns)

    def _weigh(self, utterance: Utterance, at_ns: int) -> None:
        """Speech over the agent: was it meant? Committed once, for good."""
        turn = self._turn
        if not utterance.over_agent or utterance.dismissed or turn is None or turn.cancelled:
            return
        evidence = Evidence(
            utterance.voiced / SAMPLES_PER_MS, utterance.words, ended=utterance.ended
        )
        verdict = self._duplex.judge(evidence)
        if verdict == "commit":
            self._interrupt(turn, f"barge-in: {utterance.words or 'voice'}", at_ns)
        elif verdict == "restore":
            if not utterance.restored:  # once: by now another onset may have ducked the voice again
                self._publish(Restore(call=self.call, turn=turn.number, reason="not meant"))
            utterance.restored = True
            utterance.dismissed = utterance.final is not None

    def _interrupt(self, turn: AgentTurn, reason: str, at_ns: int, carry: bool = True) -> None:
        """Take the floor from the agent; a question it had not begun to answer is not lost."""
        turn.cancelled, turn.detail = "interrupted", reason
        self._out.append(Stop(turn.number, reason))
        self._deadlines.pop("answer", None)
        for utterance in self._caller.utterances.values():
            utterance.over_agent = False
        if turn.voice.played_s == 0 and not turn.speaking:
            if carry:
                self._carried = f"{self._carried} {turn.asked}".strip()
                turn.cancelled = "superseded"
            self._end_turn(turn)
        else:
            self._deadlines["heard"] = at_ns + HEARD_WAIT_MS * MS

    # -- the end of the caller's turn ------------------------------------------------------------

    def _on_time(self) -> None:
        if self._due("heard") and self._turn is not None:
            self._end_turn(self._turn)
        if self._due("answer") and self._turn is not None and not self._turn.cancelled:
            self._give_up(self._turn)
        if not self._caller.live:
            self._deadlines.pop("limit", None)
        elif self._due("limit") or self._caller.done(self._now):
            self._answer_caller()

    def _due(self, name: str) -> bool:
        if self._deadlines.get(name, self._now + 1) > self._now:
            return False
        del self._deadlines[name]
        return True

    def _asked(self) -> str:
        """What the caller wants; a backchannel over an answer's last words is no question."""
        said = self._caller.words(lambda u: not (u.over_agent and is_backchannel(u.words)))
        return f"{self._carried} {said}".strip()

    def _answer_caller(self) -> None:
        utterances, said = self._caller.live, self._asked()
        self._caller.utterances.clear()
        self._deadlines.pop("limit", None)
        if self._turn is not None:
            if self._turn.cancelled is None:
                return  # said over the agent and not meant: a backchannel
            self._end_turn(self._turn)
        asked, self._carried = said, ""
        if asked:
            self._begin_turn(asked, utterances[0].onset, utterances[-1].end)

    def _begin_turn(self, asked: str, start: int, end: int, say: str = "") -> None:
        self._last_turn += 1
        self._turn = AgentTurn(self._last_turn, asked, start, end)
        self._deadlines["answer"] = self._now + int(self._rules.answer_wait_ms * MS)
        number, question = self._last_turn, (Message("user", asked),) if asked else ()
        messages = (*self.messages, *question)
        self._publish(TurnStarted(call=self.call, turn=number, text=asked, start=start, end=end))
        self._turn.order = Respond(call=self.call, turn=number, messages=messages, say=say)
        self._publish(self._turn.order)

    # -- the agent's turn ------------------------------------------------------------------------

    def _mine(self, event: Event) -> AgentTurn | None:
        return self._turn if self._turn and self._turn.number == event.turn else None

    def _on_sentence(self, event: Sentence, at_ns: int) -> None:
        if turn := self._mine(event):
            turn.voice.planned.append(event.text)

    def _on_words(self, event: SpokenWords, at_ns: int) -> None:
        if turn := self._mine(event):
            turn.voice.sentences.append(event)

    def _on_llm_finished(self, event: LlmFinished, at_ns: int) -> None:
        if (turn := self._mine(event)) and event.error:
            turn.detail = event.error

    def _on_playback_started(self, event: PlaybackStarted, at_ns: int) -> None:
        if turn := self._mine(event):
            turn.speaking = True
            self._expect_progress(at_ns)
            if any(u.over_agent and not u.ended for u in self._caller.live):
                self._publish(Duck(call=self.call, turn=turn.number))

    def _on_line_played(self, event: LinePlayed, at_ns: int) -> None:
        if (turn := self._mine(event)) is None:
            return
        turn.voice.played(event.samples, event.rate)
        if event.ended and (turn.finished or turn.cancelled):
            self._end_turn(turn)
        elif not turn.cancelled:
            self._expect_progress(at_ns)

    def _on_playback_finished(self, event: PlaybackFinished, at_ns: int) -> None:
        if turn := self._mine(event):
            turn.finished = True
            self._deadlines["heard"] = at_ns + HEARD_WAIT_MS * MS

    def _expect_progress(self, at_ns: int) -> None:
        self._deadlines["answer"] = at_ns + int(self._rules.answer_wait_ms * MS)

    def _give_up(self, turn: AgentTurn) -> None:
        """Nothing was heard of the answer for too long: end it, so that the caller can go on."""
        turn.cancelled = "failed"
        turn.detail = turn.detail or f"no sound for {self._rules.answer_wait_ms:g} ms"
        self._out.append(Stop(turn.number, turn.detail))
        self._end_turn(turn)

    def _end_turn(self, turn: AgentTurn) -> None:
        heard = turn.voice.heard()
        outcome: Outcome = turn.cancelled or ("completed" if heard else "failed")
        self._turn = None
        for name in ("answer", "heard"):
            self._deadlines.pop(name, None)
        if outcome != "superseded":
            self._remember(turn, heard)
        self._publish(
            TurnEnded(
                call=self.call,
                turn=turn.number,
                outcome=outcome,
                asked=turn.asked,
                heard=heard,
                answer=turn.voice.answer,
                detail=turn.detail,
            )
        )

    def _remember(self, turn: AgentTurn, heard: str) -> None:
        """The context holds what was heard, cut at the word, and that it was cut."""
        if turn.asked:
            self._history.append(Message("user", turn.asked))
        if turn.cancelled == "interrupted":
            heard = f"{heard} {INTERRUPTED}".strip()
        if heard:
            self._history.append(Message("assistant", heard))
        del self._history[: -self._rules.history]

    # -- from outside ----------------------------------------------------------------------------

    def _on_cancel_asked(self, event: CancelCall, at_ns: int) -> None:
        if self._turn is not None and self._turn.cancelled is None:
            self._interrupt(self._turn, event.reason, at_ns, carry=False)

    def _on_actor_back(self, event: ActorBack, at_ns: int) -> None:
        """What a restarted actor held of the answer is gone: ask again, or end what was begun."""
        turn = self._turn
        if turn is None or turn.cancelled or event.actor not in ("llm", "tts", "playback"):
            return
        if event.actor == "llm" and not turn.voice.planned and turn.order is not None:
            self._publish(turn.order)
        else:
            turn.cancelled, turn.detail = "failed", f"{event.actor} was restarted"
            self._out.append(Stop(turn.number, turn.detail))
            self._deadlines["heard"] = at_ns + HEARD_WAIT_MS * MS

    def _on_closed(self, event: CallClosed, at_ns: int) -> None:
        if self._turn is not None:
            self._turn.cancelled = self._turn.cancelled or "interrupted"
            self._turn.detail = self._turn.detail or f"call closed: {event.reason}"
            self._end_turn(self._turn)
        self._caller.utterances.clear()
        self._deadlines.clear()

    def _publish(self, event: Event) -> None:
        self._out.append(Say(event))
