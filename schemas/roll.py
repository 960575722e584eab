"""The roll call of the control lane."""

from __future__ import annotations

from schemas.event import Event


class RollCall(Event, frozen=True, tag="WHO"):
    """turn_manager has seen `call`'s subscription on the control lane and asks it to say Hello.

    Here `call` is the actor's name: the topic is addressed to one actor.
    """

    inc: int
