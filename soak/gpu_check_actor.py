"""`python -m soak.gpu_check_actor NAME`: an actor as the fleet runs it; tts with a shrunken Chatterbox."""

from __future__ import annotations

import sys
from contextlib import nullcontext

from actors.__main__ import main as run_actor
from actors.environments import move
from bus.settings import load
from engines.chatterbox_model import stack
from soak.random_chatterbox import shrunken


def main(arguments: list[str]) -> int:
    """Into the environment of its engine first: the classes that are shrunken are there."""
    move(arguments[0], load(), arguments, module="soak.gpu_check_actor")
    if arguments[0] == "tts":
        stack().set_num_threads(1)
    with shrunken() if arguments[0] == "tts" else nullcontext():
        return run_actor(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
