"""In comes a folder of somebody's own recordings with its manifest; out go trials, or one clear line."""

from __future__ import annotations

import csv
import json
import random
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bus.errors import BargeinError
from ops import wav
from soak.caller_set import RATE
from soak.duplex.trials import KINDS, OVER_AGENT, Trial, long_requests

NAMES = ("manifest.json", "manifest.csv")


class BadManifest(BargeinError):
    """The folder can't be run; the message names file, row and what is wrong."""

    exit_code = 65


def load(folder: Path, seed: int, count: int | None = None) -> list[Trial]:
    """A trial for each row: `file`, `kind`, `onset_s` or `onset_sample`; optional `end_s`, `text`, `voice`.

    `onset`: the first audible sample of what is said over the agent; in a `pause` or `resumption`
    file, the first sample after the pause. Raises BadManifest, BadWav.
    """
    rng = random.Random(seed)
    path = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if path is None:
        raise BadManifest(f"{folder}: no manifest.json or manifest.csv there; write one")
    rows = _rows(path)
    if not rows:
        raise BadManifest(f"{path}: lists no recording")
    requests = long_requests()
    trials = [_trial(path, number, row) for number, row in enumerate(rows)]
    return [
        msgspec.structs.replace(
            trial,
            request=rng.choice(requests) if trial.kind in OVER_AGENT else "",
            after_s=round(rng.uniform(1.5, 4.0), 2),
        )
        for trial in trials[:count]
    ]


def _rows(path: Path) -> list[Mapping[str, Any]]:
    try:
        text = path.read_text()
        found = (
            json.loads(text) if path.suffix == ".json" else list(csv.DictReader(text.splitlines()))
        )
    except (OSError, ValueError) as error:
        raise BadManifest(f"{path}: can't be read ({error})") from None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise BadManifest(f"{path}: not a list of objects, one for each recording")
    return found


def _trial(path: Path, number: int, row: Mapping[str, Any]) -> Trial:
    where = f"{path}, entry {number + 1}"
    kind, name = row.get("kind"), row.get("file")
    if kind not in KINDS:
        raise BadManifest(f"{where}: unknown kind {kind!r}; use {', '.join(KINDS)}")
    if not isinstance(name, str) or not name:
        raise BadManifest(f"{where}: names no file")
    file = path.parent / name
    length = len(wav.read(file))
    onset = _position(where, row, "onset", _rate(file))
    end = _position(where, row, "end", _rate(file))
    if onset is None:
        raise BadManifest(f"{where}: has neither onset_s nor onset_sample")
    if not 0 <= onset < length:
        raise BadManifest(
            f"{where}: the onset ({onset / RATE:.3f} s) lies outside {name} ({length / RATE:.3f} s)"
        )
    if end is not None and not onset < end <= length:
        raise BadManifest(
            f"{where}: the end ({end / RATE:.3f} s) lies before the onset or outside {name}"
        )
    text = str(row.get("text") or "")
    return Trial(
        name=f"{number:03d}-{kind}",
        kind=kind,
        parts=(str(file),),
        texts=(text,),
        known=(text,),
        voice=str(row.get("voice") or ""),
        onset=onset,
        end=-1 if end is None else end,
    )


def _rate(file: Path) -> int:
    """The recording's own rate: positions in samples count at it."""
    with wave.open(str(file), "rb") as sound:
        return sound.getframerate()


def _position(where: str, row: Mapping[str, Any], name: str, rate: int) -> int | None:
    """`name`_s or `name`_sample as a 16 kHz sample; None when there is neither."""
    seconds, sample = row.get(f"{name}_s"), row.get(f"{name}_sample")
    try:
        if seconds not in (None, ""):
            return round(float(seconds) * RATE)
        return None if sample in (None, "") else int(sample) * RATE // rate
    except (TypeError, ValueError):
        raise BadManifest(f"{where}: {name}_s or {name}_sample is no number") from None
