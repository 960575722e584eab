"""nvidia-smi's figures go in, out comes what is wrong with the cards' memory, by var/device-memory.json.

The baseline is the least memory that was ever in use on a card before a start. What is over it belongs to
somebody: a process of an earlier fleet, or a stranger's.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from bus.errors import FleetError

NAME = "device-memory.json"
TIMEOUT_S = 30.0
CARDS = "uuid,index,name,memory.total,memory.used,memory.free"
PROCESSES = "gpu_uuid,pid,process_name,used_memory"


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One card; MB of 2^20 bytes, which nvidia-smi calls MiB. `at`: local time, ISO 8601."""

    at: str
    uuid: str
    index: int
    name: str
    total_mb: int
    used_mb: int
    free_mb: int


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """The cards as they are, the baseline they were held against, and what to know of both."""

    cards: tuple[Card, ...]
    baseline: tuple[Card, ...]
    notes: tuple[str, ...] = ()


def look(home: Path, over_mb: int) -> Looked:
    """Of all cards. Raises FleetError when one has more than `over_mb` MB over its baseline in use."""
    if shutil.which("nvidia-smi") is None:
        note = "no card: there is no nvidia-smi on PATH; engines compute on the CPU"
        return Looked(cards=(), baseline=(), notes=(note,))
    cards = _cards()
    known = read(home)
    notes = [*_gone(cards, known, home)]
    for card in cards:
        before = known.get(card.uuid)
        if before is not None and card.used_mb > before.used_mb + over_mb:
            raise FleetError(_occupied(card, before, over_mb, home))
        if before is None:
            notes.append(f"card {card.index}: {card.used_mb} MB in use is its baseline from now on")
        if before is None or card.used_mb < before.used_mb:
            known[card.uuid] = card
    _write(home, list(known.values()))
    return Looked(
        cards=tuple(cards),
        baseline=tuple(known[card.uuid] for card in cards),
        notes=tuple(notes or () if cards else ["no card: nvidia-smi lists none"]),
    )


def read(home: Path) -> dict[str, Card]:
    """The baseline by card; nothing when none, or nothing readable, was stored."""
    try:
        cards = msgspec.json.decode((home / "var" / NAME).read_bytes(), type=list[Card])
    except (OSError, msgspec.DecodeError):
        return {}
    return {card.uuid: card for card in cards}


def _write(home: Path, cards: Sequence[Card]) -> None:
    path = home / "var" / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(cards)) + b"\n")
    fresh.replace(path)


def _gone(cards: Sequence[Card], known: dict[str, Card], home: Path) -> list[str]:
    here = {card.uuid for card in cards}
    return [
        f"card {card.index} ({card.name}) of the baseline is not there; if it was taken out, delete "
        f"{home / 'var' / NAME}"
        for card in known.values()
        if card.uuid not in here
    ]


def _cards() -> list[Card]:
    at = datetime.now().astimezone().isoformat(timespec="seconds")
    found = []
    for row in _ask(f"--query-gpu={CARDS}"):
        try:
            uuid, index, name, total, used, free = row
            memory = {"total_mb": int(total), "used_mb": int(used), "free_mb": int(free)}
            found.append(Card(at=at, uuid=uuid, index=int(index), name=name, **memory))
        except ValueError:
            raise FleetError(
                f"nvidia-smi does not tell the memory of a card: {', '.join(row)!r}; pass the other "
                "gates by name (`bargein preflight llm-floor`), or mend the driver"
            ) from None
    return found


def _occupied(card: Card, before: Card, over_mb: int, home: Path) -> str:
    """What to do, and who it is if nvidia-smi tells."""
    who = [
        f"process {pid} ({name}, {used} MB)"
        for uuid, pid, name, used in _ask(f"--query-compute-apps={PROCESSES}")
        if uuid == card.uuid
    ]
    return (
        f"card {card.index} ({card.name}): {card.used_mb} MB are in use before the start, "
        f"{card.used_mb - before.used_mb} MB over the baseline of {before.used_mb} MB ({before.at}), "
        f"allowed: {over_mb} MB (preflight.device_memory_over_mb); held by "
        f"{', '.join(who) or 'nobody nvidia-smi knows'}; stop that (a fleet: `bargein down`), or delete "
        f"{home / 'var' / NAME} to take this as the baseline"
    )


def _ask(query: str) -> list[list[str]]:
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FleetError(f"nvidia-smi does not answer ({error}); mend the driver") from None
    if "No devices were found" in done.stdout + done.stderr:
        return []
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["it said nothing"]
        raise FleetError(f"nvidia-smi failed: {said[0]}; mend the driver, then try again")
    rows = csv.reader(done.stdout.splitlines(), skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in rows if row]
