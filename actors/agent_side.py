"""The progress of the agent's answers goes in, from draft to heard; orders come out. Pure."""

from __future__ import annotations

import re

from msgspec import structs

from actors.turn_state import (
    AgentTurn,
    Deadlines,
    HangUp,
    Memory,
    Outbox,
    Outcome,
    Rules,
    Stop,
    Tripped,
)
from schemas import (
    ActorBack,
    Event,
    GoOn,
    HangUpAsked,
    Interject,
    LinePlayed,
    LlmFinished,
    Message,
    PlaybackFinished,
    PlaybackStarted,
    Respond,
    Resume,
    Sentence,
    SpokenWords,
    ToolCall,
    ToolEnded,
    ToolStarted,
    TurnEnded,
    TurnStarted,
)

HEARD_WAIT_MS = 300
INTERRUPTED = "[interrupted by the caller]"
UNFINISHED = "It was interrupted; it may have had its effect or not."
"""What the model is told of a tool that has not ended."""
OF_A_TURN = ("answer", "heard", "tokens", "voice")
"""Deadlines that end with the turn."""


class AgentSide:
    """The turn in progress, the draft of the next one, and what the model remembers.

    A draft is an answer begun before it is sure that the caller is done: llm and tts work on it,
    playback holds it. It becomes the turn, or it is cancelled as any turn is and leaves no trace.
    """

    def __init__(
        self, call: str, turn_base: int, rules: Rules, out: Outbox, deadlines: Deadlines
    ) -> None:
        self.call, self._rules, self._out, self._deadlines = call, rules, out, deadlines
        self.last_turn = turn_base
        self.turn: AgentTurn | None = None
        self.draft: AgentTurn | None = None
        self.carried = ""
        self.owes_apology = False
        self._drafted = 0
        self._history: list[Message] = []

    @property
    def has_floor(self) -> bool:
        """An answer is being thought of or spoken."""
        return self.turn is not None and self.turn.cancelled is None

    @property
    def protected(self) -> bool:
        """A notice sounds: whatever the caller says waits until it is over."""
        turn = self.turn
        return turn is not None and turn.cancelled is None and turn.voice.in_notice

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation as the model is shown it."""
        return (Message("system", self._rules.system_prompt), *self._history)

    # -- beginning -------------------------------------------------------------------------------

    def begin(self, asked: str, start: int, end: int, say: str = "") -> None:
        """A turn, for sure: the draft if it is the answer to this, else a new one."""
        if self.draft is not None and (say or not _same(self.draft.asked, asked)):
            self.drop_draft("other words")
        self.end(can_speak=False)
        drafted, self.draft, self._drafted = self.draft, None, 0
        turn = drafted or self._make(asked, say)
        turn.asked, turn.start, turn.end = asked, start, end
        turn.order = structs.replace(turn.order, draft=False)
        self.turn, self.owes_apology = turn, False
        self._deadlines.expect("answer", self._rules.answer_wait_ms)
        self._out.publish(
            TurnStarted(call=self.call, turn=turn.number, text=asked, start=start, end=end)
        )
        if drafted is None:
            self._out.publish(turn.order)
        if turn.voice.planned:
            self._await_voice(turn)
        elif not say and self._rules.patience.token_wait_ms:
            self._deadlines.expect("tokens", self._rules.patience.token_wait_ms)

    def _make(self, asked: str, say: str = "", draft: bool = False) -> AgentTurn:
        self.last_turn += 1
        question = (Message("user", asked),) if asked else ()
        order = Respond(
            call=self.call,
            turn=self.last_turn,
            messages=(*self.messages, *question),
            say=say,
            draft=draft,
        )
        return AgentTurn(self.last_turn, asked, 0, 0, order)

    def consider(self, asked: str) -> None:
        """Work ahead on what the caller seems to have asked; "": he is not likely to be done."""
        if self.draft is not None and not _same(self.draft.asked, asked):
            self.drop_draft("the caller goes on")
        if not asked or self.draft or self.turn or self._drafted >= self._rules.drafts:
            return
        self._drafted += 1
        self.draft = self._make(asked, draft=True)
        self._out.publish(self.draft.order)

    def drop_draft(self, reason: str) -> None:
        """Cancel it: nothing of it is heard or remembered."""
        if self.draft is not None:
            self._out.add(Stop(self.draft.number, f"draft: {reason}"))
        self.draft = None

    # -- progress --------------------------------------------------------------------------------

    def _of(self, event: Event) -> AgentTurn | None:
        known = (turn for turn in (self.turn, self.draft) if turn and turn.number == event.turn)
        return next(known, None)

    def on_sentence(self, event: Sentence, at_ns: int) -> None:
        if turn := self._of(event):
            turn.voice.plan(event.text, event.index, event.notice)
            if turn is self.turn and not turn.cancelled:
                self._deadlines.drop("tokens")
                self._await_voice(turn)

    def _await_voice(self, turn: AgentTurn) -> None:
        if not turn.speaking and self._rules.patience.voice_wait_ms:
            self._deadlines.expect_once("voice", self._rules.patience.voice_wait_ms)

    def on_words(self, event: SpokenWords, at_ns: int) -> None:
        if turn := self._of(event):
            turn.voice.sentences.append(event)

    def on_llm_finished(self, event: LlmFinished, at_ns: int) -> None:
        if turn := self._of(event):
            turn.written = True
            turn.detail = event.error or turn.detail

    def on_tool_started(self, event: ToolStarted, at_ns: int) -> None:
        """Until it has ended, it counts as interrupted: llm may not live to tell."""
        if turn := self._of(event):
            wanted = ToolCall(event.id, event.name, event.arguments)
            turn.tools[event.id] = wanted, UNFINISHED
            self._still_working(turn)

    def on_tool_ended(self, event: ToolEnded, at_ns: int) -> None:
        """Kept whatever becomes of the turn; that may have ended meanwhile."""
        turn = self._of(event)
        if turn is None:
            told = Message("tool", event.result, answers=event.id)
            for number, message in enumerate(self._history):
                if message.answers == event.id and message.content == UNFINISHED:
                    self._history[number] = told
        elif event.id in turn.tools:
            turn.tools[event.id] = turn.tools[event.id][0], event.result
            self._still_working(turn)

    def _still_working(self, turn: AgentTurn) -> None:
        if turn is self.turn and not turn.cancelled:
            self._expect_progress()

    def on_hang_up_asked(self, event: HangUpAsked, at_ns: int) -> None:
        if turn := self._of(event):
            turn.hangs_up = True

    def on_playback_started(self, event: PlaybackStarted, at_ns: int) -> AgentTurn | None:
        if (turn := self._of(event)) is None:
            return None
        turn.speaking = True
        self._deadlines.drop("voice")
        self._expect_progress()
        return turn

    def on_line_played(self, event: LinePlayed, at_ns: int) -> None:
        if (turn := self._of(event)) is None:
            return
        turn.voice.played(event.samples, event.rate)
        if event.ended and (turn.finished or turn.cancelled):
            self.end()
        elif not turn.cancelled:
            self._expect_progress()

    def on_playback_finished(self, event: PlaybackFinished, at_ns: int) -> None:
        if turn := self._of(event):
            turn.finished = True
            self._deadlines.expect("heard", HEARD_WAIT_MS)

    def _expect_progress(self) -> None:
        self._deadlines.expect("answer", self._rules.answer_wait_ms)

    def on_actor_back(self, event: ActorBack, at_ns: int) -> None:
        """What a restarted actor held of the answer is gone: the rest of it is ordered again.

        Nothing of it is said twice. playback held what nobody else has: the answer ends.
        """
        if event.actor not in ("llm", "tts", "playback"):
            return
        self.drop_draft(f"{event.actor} was restarted")
        turn = self.turn
        if turn is None or turn.cancelled or turn.finished:
            return
        if event.actor == "llm" and turn.written:
            return
        turn.resumed += 1
        if event.actor == "playback" or turn.resumed > self._rules.resumptions:
            self._fail(turn, f"{event.actor} was restarted")
            self._deadlines.expect("heard", HEARD_WAIT_MS)
        elif event.actor == "llm":
            self._out.publish(self._go_on(turn))
        else:
            self._out.publish(self._resume(turn))

    def _go_on(self, turn: AgentTurn) -> Event:
        said = turn.voice.said
        order = structs.replace(turn.order, messages=(*turn.order.messages, *turn.exchange))
        if not said:
            return order
        return GoOn(
            call=self.call, turn=turn.number, messages=order.messages, said=said, say=order.say
        )

    def _resume(self, turn: AgentTurn) -> Event:
        first, rate = turn.voice.told_to
        return Resume(
            call=self.call,
            turn=turn.number,
            parts=turn.voice.left,
            next=len(turn.voice.said),
            last=turn.written,
            first=first,
            rate=rate,
            played_ms=round(turn.voice.played_s * 1000),
        )

    # -- what is stuck ---------------------------------------------------------------------------

    def on_time(self) -> None:
        """See which deadlines of the turn have passed."""
        if self._deadlines.due("heard"):
            self.end()
        for name, rule in (
            ("tokens", self._no_tokens),
            ("voice", self._no_audio),
            ("answer", self._no_answer),
        ):
            if self._deadlines.due(name) and self.turn is not None and not self.turn.cancelled:
                rule(self.turn)

    def _no_tokens(self, turn: AgentTurn) -> None:
        """The model says nothing: the caller hears that it is being worked on."""
        waited_ms = self._rules.patience.token_wait_ms
        self._out.add(Tripped("no_tokens", turn.number, f"no token for {waited_ms:g} ms"))
        if moment := self._rules.phrases.moment:
            turn.voice.plan(moment)
            self._out.publish(Interject(call=self.call, turn=turn.number, text=moment))
            self._await_voice(turn)

    def _no_audio(self, turn: AgentTurn) -> None:
        """The voice is stuck: whatever it were told to say now would not be heard either."""
        detail = f"the voice made no sound for {self._rules.patience.voice_wait_ms:g} ms"
        self._out.add(Tripped("no_audio", turn.number, detail))
        self._fail(turn, detail)
        self.end(can_speak=False)

    def _no_answer(self, turn: AgentTurn) -> None:
        """Nothing was heard of the answer for too long: end it, so that the caller can go on."""
        detail = turn.detail or f"no sound for {self._rules.answer_wait_ms:g} ms"
        self._out.add(Tripped("no_answer", turn.number, detail))
        self._fail(turn, detail)
        self.end()

    def _fail(self, turn: AgentTurn, detail: str) -> None:
        turn.cancelled, turn.detail = "failed", detail
        self._out.add(Stop(turn.number, detail))

    # -- the end ---------------------------------------------------------------------------------

    def interrupt(self, reason: str, carry: bool = True, goes_on: bool = False) -> None:
        """The caller takes the floor; a question of which no answer was heard is not lost.

        `goes_on`: it had no end yet, so that what was heard of an answer was none.
        """
        turn = self.turn
        if turn is None or turn.cancelled:
            return
        turn.cancelled, turn.detail, turn.carries = "interrupted", reason, carry
        turn.cut_in = goes_on and bool(turn.asked)
        self._out.add(Stop(turn.number, reason))
        self._deadlines.drop(*OF_A_TURN)
        if turn.speaking or turn.voice.played_s:
            self._deadlines.expect("heard", HEARD_WAIT_MS)
        else:
            self.end()

    def end(self, can_speak: bool = True) -> None:
        """The turn is over; what became of it. For a failure an apology is owed."""
        turn = self.turn
        if turn is None:
            return
        heard = turn.voice.heard()
        outcome: Outcome = turn.cancelled or ("completed" if heard else "failed")
        unanswered = turn.carries and (turn.cut_in or not heard) and not turn.tools
        if outcome == "interrupted" and unanswered:
            outcome = "superseded"
            self.carried = f"{self.carried} {turn.asked}".strip()
        self.turn = None
        self._deadlines.drop(*OF_A_TURN)
        if outcome != "superseded":
            self._remember(turn, heard)
        self._out.publish(
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
        self.owes_apology = outcome == "failed" and can_speak and not turn.order.say
        if turn.hangs_up and outcome == "completed":
            self._out.add(HangUp("the agent hung up"))

    def _remember(self, turn: AgentTurn, heard: str) -> None:
        """The context holds what was heard, cut at the word, and that it was cut."""
        if turn.asked:
            self._history.append(Message("user", turn.asked))
        self._history += turn.exchange
        if turn.cancelled == "interrupted":
            heard = f"{heard} {INTERRUPTED}".strip()
        if heard:
            self._history.append(Message("assistant", heard))
        del self._history[: -self._rules.history]
        while self._history and self._history[0].role == "tool":  # its call is gone
            del self._history[0]

    def close(self, reason: str) -> None:
        """The call is over."""
        self.draft = None
        if self.turn is not None:
            self.turn.cancelled = self.turn.cancelled or "interrupted"
            self.turn.carries = False
            self.turn.detail = self.turn.detail or f"call closed: {reason}"
            self.end(can_speak=False)

    # -- outliving a crash -----------------------------------------------------------------------

    def memory(self) -> Memory:
        """What a successor needs to go on with this call."""
        asked = self.turn.asked if self.turn else self.carried
        history, drafting = tuple(self._history), self.draft is not None
        return Memory(self.last_turn, asked, self.turn is not None, history, drafting)

    def recall(self, memory: Memory) -> None:
        """Go on after a crash: what was being answered is cut, for nobody knows what was heard."""
        self.last_turn, self._history = memory.last_turn, list(memory.history)
        if memory.answering:
            number, why = memory.last_turn, "turn_manager was restarted"
            order = Respond(call=self.call, turn=number, messages=())
            self.turn = AgentTurn(number, memory.asked, 0, 0, order)
            self._fail(self.turn, why)
            self.end(can_speak=bool(memory.asked))
        elif memory.drafting:
            self._out.add(Stop(memory.last_turn, "draft: turn_manager was restarted"))


def _same(one: str, other: str) -> bool:
    """The same words, however the recogniser wrote them."""
    return re.findall(r"[\w']+", one.lower()) == re.findall(r"[\w']+", other.lower())
