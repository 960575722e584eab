"""The rules of one conversation: events and the clock go in, orders and facts come out. Pure.

A `Conversation` is told everything in order through `step(event, at_ns)` and answers with effects;
it knows no socket and no real clock. `deadline_ns` says when it wants to be told the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.agent_side import AgentSide
from actors.caller_side import CallerSide
from actors.duplex import Duplex
from actors.endpointing import EndOfTurn
from actors.evidence import Evidence, Second, is_backchannel, says_stop
from actors.idle import Idle
from actors.turn_state import (
    MS,
    SAMPLES_PER_MS,
    Deadlines,
    Effect,
    HangUp,
    Memory,
    Outbox,
    Rules,
    Tripped,
    Utterance,
)
from schemas import (
    ActorBack,
    CallClosed,
    CancelCall,
    Duck,
    Event,
    Final,
    HangUpAsked,
    Hold,
    LinePlayed,
    LlmFinished,
    Message,
    Partial,
    PlaybackFinished,
    PlaybackStarted,
    Restore,
    SecondLook,
    Sentence,
    SpeechContinued,
    SpeechEnded,
    SpeechPaused,
    SpeechStarted,
    SpokenWords,
    ToolEnded,
    ToolStarted,
)


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
        self._out = Outbox()
        self._deadlines = Deadlines(self._out)
        self._caller = CallerSide(rules, end_of_turn or rules.end_of_turn())
        self._agent = AgentSide(call, turn_base, rules, self._out, self._deadlines)
        self._idle = Idle(rules.patience, self._deadlines)
        self._apologised = False
        self._goodbye = False
        self._open = True
        agent = self._agent
        self._table: dict[type[Event], Callable[[Any, int], object]] = {
            SpeechStarted: self._on_onset,
            SpeechContinued: self._on_continued,
            SpeechEnded: self._on_speech_ended,
            SpeechPaused: self._on_paused,
            Partial: self._on_partial,
            Final: self._on_final,
            SecondLook: self._on_second_look,
            Sentence: agent.on_sentence,
            SpokenWords: agent.on_words,
            LlmFinished: agent.on_llm_finished,
            ToolStarted: agent.on_tool_started,
            ToolEnded: agent.on_tool_ended,
            HangUpAsked: agent.on_hang_up_asked,
            PlaybackStarted: self._on_playback_started,
            PlaybackFinished: agent.on_playback_finished,
            LinePlayed: self._on_line_played,
            CancelCall: self._on_cancel_asked,
            ActorBack: agent.on_actor_back,
            CallClosed: self._on_closed,
        }

    @property
    def deadline_ns(self) -> int | None:
        """When `step` wants to be called even if nothing happens."""
        now = self._out.now_ns
        instants = [
            *self._deadlines.instants,
            *self._caller.deadlines(now),
            *self._verdicts_due(),
        ]
        return min((instant for instant in instants if instant > now), default=None)

    @property
    def turn(self) -> int:
        """The turn in progress; 0 when the caller has the floor."""
        return self._agent.turn.number if self._agent.turn else 0

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation as the model is shown it."""
        return self._agent.messages

    def step(self, event: Event, at_ns: int) -> list[Effect]:
        """Take one event (a TurnTick only tells the time); what follows from it, in order."""
        effects = self._out.begin(at_ns)
        if (rule := self._table.get(type(event))) is not None:
            rule(event, at_ns)
        if self._open:
            self._on_time(at_ns)
        return effects

    def memory(self) -> Memory:
        """What a successor needs to go on with this call."""
        return self._agent.memory()

    def recall(self, memory: Memory, at_ns: int) -> list[Effect]:
        """Go on after a crash; whose answer was cut by it is told so."""
        effects = self._out.begin(at_ns)
        self._agent.recall(memory)
        self._on_time(at_ns)
        return effects

    def say(self, text: str, at_ns: int) -> list[Effect]:
        """Begin a turn with words of our own: a greeting."""
        effects = self._out.begin(at_ns)
        self._deadlines.drop("idle")
        self._say(text)
        return effects

    # -- the caller's voice ----------------------------------------------------------------------

    def _on_onset(self, event: SpeechStarted, at_ns: int) -> None:
        floor = self._agent.has_floor
        counts = self._duplex.listens(floor)
        utterance = self._caller.begin(event.onset, at_ns, floor, counts)
        utterance.level_dbfs = event.level_dbfs
        for behind in self._caller.live:
            if behind.masked and behind.over_agent and not behind.restored:
                behind.let_pass()
        if counts:
            self._goodbye = False
            self._deadlines.expect_once("limit", self._rules.max_turn_ms)

    def _on_continued(self, event: SpeechContinued, at_ns: int) -> None:
        if utterance := self._caller.goes_on(event, at_ns):
            self._weigh(utterance)

    def _on_speech_ended(self, event: SpeechEnded, at_ns: int) -> None:
        if (utterance := self._caller.ends(event, at_ns)) is None:
            return
        over_agent = utterance.over_agent
        self._weigh(utterance)
        interrupted = over_agent and not utterance.over_agent
        if event.murmur and not interrupted:  # nobody's
            self._restore([utterance])
            utterance.dismissed = True

    def _on_paused(self, event: SpeechPaused, at_ns: int) -> None:
        self._caller.pauses(event)

    def _on_partial(self, event: Partial, at_ns: int) -> None:
        if utterance := self._caller.utterances.get(event.utterance):
            utterance.guess(event)
            self._weigh(utterance)

    def _on_final(self, event: Final, at_ns: int) -> None:
        if utterance := self._caller.utterances.get(event.utterance):
            utterance.take(event)
            self._weigh(utterance)

    def _on_second_look(self, event: SecondLook, at_ns: int) -> None:
        if utterance := self._caller.utterances.get(event.utterance):
            utterance.look(event)
            self._weigh(utterance)

    def _weigh(self, utterance: Utterance) -> None:
        """Speech over the agent: was it meant? Committed once, for good; never in a notice."""
        turn = self._agent.turn
        if not utterance.over_agent or utterance.dismissed or turn is None or turn.cancelled:
            return
        if self._agent.protected:
            return
        verdict = self._duplex.judge(self._evidence(utterance, turn.voice.answer))
        if verdict == "commit":
            utterance.correct()
            utterance.interrupts = True
            goes_on = self._goes_on(utterance, turn.end)
            self._interrupt(f"barge-in: {utterance.words or 'voice'}", goes_on=goes_on)
        elif verdict == "hold" and not utterance.held and not utterance.restored:
            utterance.held = True
            self._out.publish(Hold(call=self.call, turn=turn.number))
        elif verdict == "restore":
            late = self._out.now_ns >= self._verdict_by_ns(utterance)
            if utterance.masked and not (utterance.restored or late):
                return  # whoever speaks above it is told of next, and judged for both
            if not (utterance.restored or self._speaks_besides(utterance)):
                # once: by now another onset may have ducked the voice again
                self._out.publish(Restore(call=self.call, turn=turn.number, reason="not meant"))
            utterance.let_pass()

    def _verdict_by_ns(self, utterance: Utterance) -> int:
        return utterance.ended_ns + int(self._duplex.verdict_ms * MS)

    def _speaks_besides(self, utterance: Utterance) -> bool:
        """Whether more of the caller's voice waits for a verdict, which restores the agent's or ends it."""
        return any(
            u is not utterance and u.over_agent and u.undecided and not (u.restored or u.masked)
            for u in self._caller.live
        )

    def _evidence(self, utterance: Utterance, agent: str) -> Evidence:
        second = utterance.second
        ended_ms = (self._out.now_ns - utterance.ended_ns) / MS if utterance.ended else None
        return Evidence(
            utterance.voiced / SAMPLES_PER_MS,
            utterance.words,
            stable=utterance.stable_words,
            final=utterance.final is not None,
            ended_ms=ended_ms,
            agent=agent,
            level_db=self._caller.against_usual_db(utterance),
            second=None if second is None else Second(second.text, second.command_nats),
            awaited=utterance.second_due,
            floor=utterance.floor,
            lasting=utterance.lasting,
            murmur=utterance.murmur,
            masked=utterance.masked,
            share=utterance.share,
        )

    def _verdicts_due(self) -> list[int]:
        """When an utterance that has ended without words is decided on."""
        return [
            self._verdict_by_ns(u) for u in self._caller.live if u.over_agent and u.awaits_verdict
        ]

    def _goes_on(self, utterance: Utterance, end: int) -> bool:
        """Whether he was not done, the wait was too short: what he says is the rest of his question."""
        pause_ms = (utterance.onset - end) / SAMPLES_PER_MS
        return 0 <= pause_ms <= self._rules.endpoints.open

    def _interrupt(self, reason: str, carry: bool = True, goes_on: bool = False) -> None:
        """Take the floor from the agent."""
        for utterance in self._caller.utterances.values():
            utterance.over_agent = False
        self._agent.interrupt(reason, carry, goes_on)

    # -- the end of the caller's turn ------------------------------------------------------------

    def _on_time(self, now_ns: int) -> None:
        self._agent.on_time()
        for utterance in self._caller.live:
            if utterance.awaits_verdict:
                self._weigh(utterance)
        self._free_the_caller(now_ns)
        if not self._caller.live:
            self._deadlines.drop("limit")
        elif not self._agent.protected and (
            self._deadlines.due("limit") or self._caller.done(now_ns)
        ):
            self._answer_caller()
        self._agent.consider(self._likely(now_ns))
        self._speak_first()

    def _free_the_caller(self, now_ns: int) -> None:
        """What of his is stuck ends; what nobody understood of it is not met with silence."""
        for watchdog, utterance in self._caller.stuck(now_ns, self._agent.has_floor):
            detail = f"speech from sample {utterance.onset}"
            self._out.add(Tripped(watchdog, 0, detail))
            if watchdog == "no_end":
                self._weigh(utterance)
            else:
                self._apologise()

    def _restore(self, utterances: list[Utterance]) -> None:
        """Speech over the agent that no longer counts leaves no lowered voice behind."""
        over = any(u.over_agent and not u.restored for u in utterances)
        if over and self._agent.has_floor:
            self._out.publish(Restore(call=self.call, turn=self.turn, reason="not meant"))

    def _said(self) -> str:
        """His words, less what he said over an answer and did not mean."""
        return self._caller.words(lambda u: not (u.over_agent and self._not_meant(u)))

    def _not_meant(self, utterance: Utterance) -> bool:
        """A backchannel; or the answer went on, has ended since, and what is known now commits no more."""
        if is_backchannel(utterance.words):
            return True
        return utterance.restored and self._duplex.judge(self._evidence(utterance, "")) != "commit"

    def _joined(self, said: str) -> str:
        """With the question that was not answered, unless "stop" or "wait" takes it back."""
        taken_back = says_stop(" ".join(said.split()[:2]))
        return said if taken_back else f"{self._agent.carried} {said}".strip()

    def _likely(self, now_ns: int) -> str:
        """What he asks if he is done, as it seems; "" while he speaks or is likely to go on."""
        if self._agent.turn is not None or not self._caller.live or not self._caller.settled:
            return ""
        if self._caller.wait_ms(now_ns) > self._rules.endpoints.open:
            return ""
        said = self._said()
        return self._joined(said) if said else ""

    def _answer_caller(self) -> None:
        utterances, said = self._caller.live, self._said()
        missed = self._missed(utterances)
        self._caller.utterances.clear()
        self._deadlines.drop("limit")
        if self._agent.has_floor:
            self._restore(utterances)
            return  # said over the agent and not meant: a backchannel
        self._agent.end()
        asked, self._agent.carried = self._joined(said), ""
        if asked:
            self._apologised = False
            self._caller.learn_loudness(max(u.level_dbfs for u in utterances))
            self._idle.spoke()
            self._agent.begin(asked, utterances[0].onset, utterances[-1].end)
        elif missed:
            self._out.add(Tripped("no_words", 0, missed))
            self._apologise()

    def _missed(self, utterances: list[Utterance]) -> str:
        """Whose words are missed, should there be none: who was given the floor, and who spoke for long."""
        least_ms, voiced_ms = self._rules.patience.unheard_ms, self._caller.voiced_ms
        if not least_ms or any(u.over_agent for u in utterances):
            return ""
        if any(u.interrupts for u in utterances):
            return f"{voiced_ms:g} ms of voice that interrupted, no word"
        return f"{voiced_ms:g} ms of voice, no word" if voiced_ms >= least_ms else ""

    # -- words of our own ------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        here = self._caller.last_sample  # who has spoken until now does not speak over this
        self._agent.begin("", here, here, say=text)

    def _apologise(self) -> None:
        """Once, until something is understood: a noise would else be talked to for ever."""
        if self._rules.phrases.sorry and not self._apologised and not self._caller.live:
            self._apologised = True
            self._say(self._rules.phrases.sorry)

    def _speak_first(self) -> None:
        """While nobody has the floor: an apology that is owed; a caller who owes the next word is asked."""
        free = self._agent.turn is None and not self._caller.live
        if free and self._agent.owes_apology and (apology := self._rules.phrases.apology):
            self._say(apology)
            free = False
        if self._goodbye and free:
            self._hang_up()
            return
        phrases = self._rules.phrases
        match self._idle.look(free):
            case "prompt" if phrases.still_there:
                self._say(phrases.still_there)
            case "leave" if phrases.goodbye:
                self._say(phrases.goodbye)
                self._goodbye = True
            case "leave":
                self._hang_up()

    def _hang_up(self) -> None:
        self._out.add(HangUp("the caller was idle"))
        self._open = False

    # -- the agent's voice -----------------------------------------------------------------------

    def _on_playback_started(self, event: PlaybackStarted, at_ns: int) -> None:
        turn = self._agent.on_playback_started(event, at_ns)
        if turn and any(u.over_agent and not u.ended for u in self._caller.live):
            self._out.publish(Duck(call=self.call, turn=turn.number))
        if turn and any(u.over_agent and u.held and not u.restored for u in self._caller.live):
            self._out.publish(Hold(call=self.call, turn=turn.number))  # ordered before it sounded

    def _on_line_played(self, event: LinePlayed, at_ns: int) -> None:
        noticed = self._agent.protected
        self._agent.on_line_played(event, at_ns)
        if noticed:
            for utterance in self._caller.live:
                self._weigh(utterance)

    # -- from outside ----------------------------------------------------------------------------

    def _on_cancel_asked(self, event: CancelCall, at_ns: int) -> None:
        if self._agent.has_floor:
            self._interrupt(event.reason, carry=False)

    def _on_closed(self, event: CallClosed, at_ns: int) -> None:
        self._agent.close(event.reason)
        self._open = False
        self._caller.utterances.clear()
        self._deadlines.drop(*OF_A_CALL)


OF_A_CALL = ("limit", "idle")
