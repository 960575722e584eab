"""talk: a microphone goes in, a conversation on the terminal and a recorded call come out."""

from __future__ import annotations

import asyncio
import os
import threading
from functools import partial
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from bus.endpoints import Endpoints
from bus.recording import decode
from bus.settings import load
from bus.wiretap import Heard
from ops import in_force
from ops.line import Line
from ops.microphone import Meters, Microphone
from ops.placing import Placed, Plan, place, write_report
from ops.sound_card import PortAudio, SoundCard
from ops.supervisor import Supervisor
from ops.talk_view import View, after, language, panel
from schemas import Event

console = Console()
PER_S = 10
"""Pictures per second."""
Headphones = Annotated[
    bool, typer.Option("--headphones", help="Leave the echo alone: there is none.")
]


class Screen:
    """Keeps the view up to date; `show` is called on the recorder's thread, `picture` on rich's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._view = View()
        self._language = language(os.environ)
        self.meters = Meters()

    @property
    def view(self) -> View:
        """What is on the screen."""
        return self._view

    def show(self, heard: Heard) -> None:
        """One message from the bus."""
        if heard.lane != "media" and isinstance(event := decode(heard).event, Event):
            with self._lock:
                self._view = after(self._view, event)

    def picture(self) -> RenderableType:
        """The screen now."""
        with self._lock:
            return panel(self._view, self.meters, self._language)

    def microphone(self, line: Line, card: SoundCard, headphones: bool) -> Microphone:
        """Somebody at a microphone whose levels are shown."""
        microphone = Microphone(line, card, headphones)
        self.meters = microphone.meters
        return microphone


async def converse(plan: Plan, screen: Screen, card: SoundCard, headphones: bool) -> Placed:
    """One call, until it is hung up. Raises CallRefused, NoRoom, NoSoundCard."""
    return await place(plan, partial(screen.microphone, card=card, headphones=headphones))


def talk(headphones: Headphones = False) -> None:
    """Talk to the agent, over it too, through this machine's microphone; Ctrl-C hangs up."""
    settings, card = load(), PortAudio()
    Supervisor(settings.home).require()
    where, screen = Endpoints(settings.run_dir), Screen()
    header = in_force.header(settings, where)
    plan = Plan(where, settings.calls_dir, watch=screen.show, header=header, attended=True)
    with Live(get_renderable=screen.picture, console=console, refresh_per_second=PER_S):
        placed = asyncio.run(converse(plan, screen, card, headphones))
    write_report(placed)
    console.print(f"recording, trace and timeline: {placed.folder}")


def register(app: typer.Typer) -> None:
    """Add the command to the CLI."""
    app.command()(talk)
