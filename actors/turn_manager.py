"""turn_manager: the caller's speech and words, and the agent's progress come in; orders go out.

It opens and closes calls, alone broadcasts CANCEL, and leaves every decision to turn_rules.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, get_args

import structlog
from ulid import ULID

from actors.notebook import Entry, Notebook
from actors.turn_rules import Conversation
from actors.turn_settings import duplex, rules
from actors.turn_state import Effect, HangUp, Say, Stop, Tripped, Watchdog
from bus.clock import Alarm, Clock
from bus.endpoints import Endpoints
from bus.rounds import Budget, Rounds
from bus.runtime import Context, Emit, Runtime
from bus.settings import Settings
from bus.wire import topic_of
from schemas import (
    Acked,
    ActorBack,
    CallClosed,
    CallOpened,
    CancelCall,
    CloseCall,
    Done,
    Event,
    Final,
    HangUpAsked,
    Heartbeat,
    Hello,
    LineLost,
    LinePlayed,
    LlmFinished,
    OpenCall,
    Partial,
    PlaybackFinished,
    PlaybackStarted,
    Refused,
    SecondLook,
    Sentence,
    SpeechContinued,
    SpeechEnded,
    SpeechPaused,
    SpeechStarted,
    SpokenWords,
    Stamp,
    Steps,
    ToolEnded,
    ToolStarted,
    TurnTick,
    Welcome,
)

log = structlog.get_logger()
STEPS_AT_ONCE = 16


class Timer(NamedTuple):
    """An alarm, and when it rings."""

    at_ns: int
    alarm: Alarm


@dataclass
class Seen:
    """What was last heard of an actor."""

    ready: bool
    at_ns: int
    inc: int


class TurnManager:
    """The one who decides whose turn it is."""

    name = "turn_manager"
    by_turn = False
    """Each event is a step of its conversation: one order, and a round is no part of its own turn."""
    rounds_class = Rounds
    hears = (
        CallOpened,
        CallClosed,
        CancelCall,
        SpeechStarted,
        SpeechContinued,
        SpeechEnded,
        SpeechPaused,
        Partial,
        Final,
        SecondLook,
        Sentence,
        SpokenWords,
        LlmFinished,
        ToolStarted,
        ToolEnded,
        HangUpAsked,
        PlaybackStarted,
        PlaybackFinished,
        LinePlayed,
        LineLost,
        Heartbeat,
        ActorBack,
        TurnTick,
    )

    def __init__(
        self,
        context: Context,
        where: Endpoints,
        settings: Settings,
        ticks: bool = True,
        notebook: Notebook | None = None,
    ) -> None:
        """`ticks=False` leaves time to whoever replays a recording: it sends TurnTick events.

        `notebook`: where the calls in progress outlive this process.
        """
        self._notebook = notebook
        self._context, self._where, self._settings, self._ticks = context, where, settings, ticks
        self.rounds: Rounds | None = None
        self._runtime: Runtime | None = None
        self._open: dict[str, CallOpened] = {}
        self._talks: dict[str, Conversation] = {}
        self._seen: dict[str, Seen] = {}
        self._timers: dict[str, Timer] = {}
        self._due: dict[str, int | None] = {}
        """When each conversation wants to be told the time."""
        self._steps: dict[str, list[tuple[str, str, int, int]]] = {}
        self._tripped: Counter[str] = Counter()
        self._rules = rules(settings)

    def attach(self, runtime: Runtime) -> None:
        """Own the CANCEL broadcast."""
        self._runtime = runtime
        cancel = self._settings.cancel
        self.rounds = self.rounds_class(
            self._context,
            self._where,
            self._settings.fleet.roster,
            runtime.stamper,
            runtime.clock,
            runtime.desk,
            publish=runtime.link.publish,
            budget=Budget(cancel.resend_ms, cancel.stuck_ms, cancel.release_ms),
            expect=runtime.control.expect,
        )

    async def load(self) -> None:
        """Go on with the calls a predecessor has left."""
        entries = self._notebook.read() if self._notebook is not None else ()
        at_ns = self._clock.now()
        recalled = []
        for entry in entries:
            log.warning("going on with a call", call_id=entry.opened.call)
            talk = self._begin(entry.opened)
            recalled.append((talk.call, talk.recall(entry.memory, at_ns)))
            self._arm(talk)
        if recalled:
            self._write_down()
        for call, effects in recalled:
            await self._act(call, effects, at_ns)

    def _remember(self, event: Event, effects: list[Effect]) -> None:
        """Before a turn is announced, lest its number be used twice; but after a CANCEL."""
        if effects or isinstance(event, CallOpened):
            self._write_down()

    def _write_down(self) -> None:
        if self._notebook is not None:
            entries = (Entry(self._open[call], talk.memory()) for call, talk in self._talks.items())
            self._notebook.write(tuple(entries))

    async def close(self) -> None:
        if self.rounds is not None:
            await self.rounds.close()

    def gauges(self) -> dict[str, float]:
        """Calls in progress; how often each watchdog has ended something stuck."""
        tripped = {f"watchdog_{name}": float(self._tripped[name]) for name in get_args(Watchdog)}
        return {"active_calls": float(len(self._open)), **tripped}

    # -- events ----------------------------------------------------------------------------------

    def react(self, event: Event, emit: Emit) -> Awaitable[None] | None:
        if isinstance(event, Heartbeat):
            self._notice(event)
        elif isinstance(event, LineLost):
            self.hang_up(event.call, "line lost")
        else:
            if isinstance(event, CallOpened):
                self._begin(event)
            if (talk := self._talks.get(event.call)) is not None:
                return self._step(talk, event, emit)
        return None

    def _notice(self, event: Heartbeat) -> None:
        """An actor that is ready in another incarnation than before has come back."""
        was = self._seen.get(event.actor)
        ready = event.state == "ready"
        if ready and was is not None and was.inc != event.inc:
            for call in self._open:
                self._published(ActorBack(call=call, actor=event.actor))
        inc = event.inc if ready or was is None else was.inc
        self._seen[event.actor] = Seen(ready, self._clock.now(), inc)

    def _begin(self, event: CallOpened) -> Conversation:
        agreed = self._rules
        if not event.attended:
            agreed = replace(agreed, patience=replace(agreed.patience, idle_ms=0))
        talk = Conversation(event.call, event.turn_base, duplex(self._settings), agreed)
        self._open[event.call] = event
        self._talks[event.call] = talk
        self._steps[event.call] = []
        return talk

    def _step(self, talk: Conversation, event: Event, emit: Emit) -> Awaitable[None] | None:
        """Decide, note the step for replays, then act; a CANCEL's fences are what is awaited."""
        at_ns = emit.at_ns
        self._note(event, emit.cause, at_ns)
        effects = list(talk.step(event, at_ns))
        if isinstance(event, CallOpened) and (greeting := self._greeting):
            effects += talk.say(greeting, at_ns)
        self._arm(talk)
        if any(isinstance(effect, Stop) for effect in effects):
            return self._stop(talk, event, effects, at_ns)
        self._remember(event, effects)
        for effect in effects:
            self._do(talk.call, effect, at_ns)
        self._stepped(talk, event, effects, at_ns)
        return None

    async def _stop(
        self, talk: Conversation, event: Event, effects: list[Effect], at_ns: int
    ) -> None:
        await self._act(talk.call, effects, at_ns)
        self._remember(event, effects)
        self._stepped(talk, event, effects, at_ns)

    def _stepped(self, talk: Conversation, event: Event, effects: list[Effect], at_ns: int) -> None:
        self._flush(talk.call, at_ns, bool(effects))
        if isinstance(event, CallClosed):
            self._end(talk.call, at_ns)

    @property
    def _greeting(self) -> str:
        """What is said first: a notice that must be heard whole, and the greeting."""
        notice, greeting = self._settings.turns.notice, self._settings.turns.greeting
        return f"{f'<notice>{notice}</notice>' if notice else ''} {greeting}".strip()

    async def _act(self, call: str, effects: Iterable[Effect], at_ns: int) -> None:
        assert self.rounds is not None
        for effect in effects:
            if isinstance(effect, Stop):
                await self.rounds.cancel(call, effect.turn, effect.reason, at_ns)
            else:
                self._do(call, effect, at_ns)

    def _do(self, call: str, effect: Effect, at_ns: int) -> None:
        """What follows at once."""
        assert self._runtime is not None
        if isinstance(effect, Say):
            self._runtime.emit(effect.event, at_ns)
        elif isinstance(effect, HangUp):
            self.hang_up(call, effect.reason)
        elif isinstance(effect, Tripped):
            self._tripped[effect.watchdog] += 1
            log.warning(
                "watchdog",
                call_id=call,
                turn_id=effect.turn,
                watchdog=effect.watchdog,
                why=effect.detail,
            )

    def _end(self, call: str, at_ns: int) -> None:
        assert self.rounds is not None
        self._flush(call, at_ns, True)
        self._open.pop(call, None)
        self._talks.pop(call, None)
        self._steps.pop(call, None)
        self._due.pop(call, None)
        if (timer := self._timers.pop(call, None)) is not None:
            timer.alarm.cancel()
        self.rounds.forget(call)
        self._write_down()

    # -- time ------------------------------------------------------------------------------------

    def _arm(self, talk: Conversation) -> None:
        """Be woken at the conversation's next deadline.

        Nearly every event puts it off. So a timer that is set earlier stays, and looks again when it rings.
        """
        if not self._ticks:
            return
        due = self._due[talk.call] = talk.deadline_ns
        timer = self._timers.get(talk.call)
        if due is None or (timer is not None and timer.at_ns <= due):
            return
        if timer is not None:
            timer.alarm.cancel()
        self._set_timer(talk.call, due)

    def _set_timer(self, call: str, at_ns: int) -> None:
        alarm = self._clock.call_at(at_ns, lambda: self._ring(call, at_ns))
        self._timers[call] = Timer(at_ns, alarm)

    def _ring(self, call: str, at_ns: int) -> None:
        del self._timers[call]
        if (due := self._due[call]) is None:
            return
        if due > at_ns:
            self._set_timer(call, due)
        else:
            self._tick(call, due)

    def _tick(self, call: str, deadline_ns: int) -> None:
        assert self._runtime is not None
        tick = TurnTick(call=call)
        stamp = self._runtime.stamper(topic_of(tick), deadline_ns)
        self._runtime.work(call).push(tick, stamp)

    @property
    def _clock(self) -> Clock:
        assert self._runtime is not None
        return self._runtime.clock

    # -- what makes a recording replay exactly -----------------------------------------------------

    def _note(self, event: Event, cause: Stamp, at_ns: int) -> None:
        tag = str(type(event).__struct_config__.tag)
        self._steps[event.call].append((cause.source, tag, cause.seq, at_ns))

    def _flush(self, call: str, at_ns: int, now: bool) -> None:
        steps = self._steps.get(call)
        if steps and (now or len(steps) >= STEPS_AT_ONCE) and self._runtime is not None:
            self._runtime.link.publish(Steps(call=call, steps=tuple(steps)), at_ns)
            steps.clear()

    # -- the door --------------------------------------------------------------------------------

    def acknowledged(self, acks: Sequence[Acked]) -> None:
        """Actors' answers to CANCEL."""
        assert self.rounds is not None
        self.rounds.acknowledged(acks)

    async def answer(self, request: Event) -> Event | None:
        """Hello, and what lines and operators ask for."""
        if isinstance(request, Hello):
            return self._welcome(request)
        if isinstance(request, OpenCall):
            return self._open_call(request)
        if isinstance(request, CloseCall):
            return self._publish_for(
                request.call, CallClosed(call=request.call, reason=request.reason)
            )
        if isinstance(request, CancelCall):
            return self._publish_for(request.call, request)
        return Refused(why=f"turn_manager does not answer {type(request).__name__}", status=404)

    def _welcome(self, hello: Hello) -> Welcome:
        assert self._runtime is not None
        if (seen := self._seen.get(hello.actor)) is not None and seen.inc != hello.inc:
            seen.ready = False
        with self._runtime.desk.guard:
            self._runtime.desk.fence.merge(hello.fences)
            fences = self._runtime.desk.fence.snapshot()
        log.info("hello", actor=hello.actor, pid=hello.pid)
        return Welcome(calls=tuple(self._open.values()), fences=fences)

    def _open_call(self, request: OpenCall) -> Event:
        """No audio is accepted until every engine a call needs is loaded."""
        if waiting := self.not_ready():
            return Refused(why=f"not ready: waiting for {', '.join(waiting)}", status=503)
        call = request.call or str(ULID())
        if call in self._open:
            return Refused(why=f"call {call} is open already", status=409)
        wall_ns = time.time_ns()
        opened = CallOpened(
            call=call,
            line=request.line,
            caller_rate=request.caller_rate,
            agent_rate=request.agent_rate,
            channels=request.channels,
            attended=request.attended,
            turn_base=wall_ns // 1_000_000,
            wall_ns=wall_ns,
        )
        self._open[call] = opened
        return self._published(opened)

    def hang_up(self, call: str, reason: str) -> None:
        """End a call of our own accord; one we know nothing of as well: its notebook may have been lost."""
        self._published(CallClosed(call=call, reason=reason))

    def _publish_for(self, call: str, event: Event) -> Event:
        if call not in self._open:
            known = ", ".join(self._open) or "none"
            return Refused(why=f"no call {call!r}; calls in progress: {known}", status=404)
        self._published(event)
        return Done(detail=call)

    def _published(self, event: Event) -> Event:
        assert self._runtime is not None
        self._runtime.link.publish(event)
        return event

    def not_ready(self) -> list[str]:
        """The actors on the roster that are not ready now, or were not heard of lately."""
        fresh_ns = self._clock.now() - 3 * self._settings.fleet.heartbeat_ms * 1_000_000
        return [
            name
            for name in self._settings.fleet.roster
            if (seen := self._seen.get(name)) is None or not seen.ready or seen.at_ns < fresh_ns
        ]
