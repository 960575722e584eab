"""turn_manager's notebook: what is written is read back by the same fleet, and by no other."""

from __future__ import annotations

from pathlib import Path

from actors.duplex import FullDuplex
from actors.evidence import Judge
from actors.notebook import Entry, Notebook
from actors.turn_rules import Conversation
from actors.turn_state import Memory, Rules, Say, Stop
from schemas import CallOpened, Message, TurnEnded

ENTRY = Entry(
    CallOpened(call="C1", line="l", turn_base=5),
    Memory(7, "what time is it", True, (Message("user", "hello"), Message("assistant", "hi"))),
)


def test_a_successor_reads_what_was_written(tmp_path: Path) -> None:
    Notebook(tmp_path / "n", fleet=1).write((ENTRY,))
    assert Notebook(tmp_path / "n", fleet=1).read() == (ENTRY,)


def test_another_fleets_calls_a_missing_and_a_damaged_page_are_no_calls(tmp_path: Path) -> None:
    path = tmp_path / "n"
    assert Notebook(path, fleet=1).read() == ()
    Notebook(path, fleet=1).write((ENTRY,))
    assert Notebook(path, fleet=2).read() == ()
    path.write_bytes(path.read_bytes()[:-3])
    assert Notebook(path, fleet=1).read() == ()


def test_a_disk_that_refuses_does_not_stop_the_calls(tmp_path: Path) -> None:
    Notebook(tmp_path / "missing" / "n", fleet=1).write((ENTRY,))


def test_a_recalled_conversation_cuts_what_was_being_answered_and_numbers_on() -> None:
    talk = Conversation("C1", 5, FullDuplex(Judge()), Rules())
    effects = talk.recall(ENTRY.memory, at_ns=1)
    assert effects[0] == Stop(7, "turn_manager was restarted")
    assert isinstance(effects[1], Say)
    assert isinstance(effects[1].event, TurnEnded)
    assert effects[1].event.outcome == "failed"
    assert talk.memory().last_turn == 7
    assert not talk.memory().answering
    assert [message.content for message in talk.messages[1:4]] == ["hello", "hi", "what time is it"]
