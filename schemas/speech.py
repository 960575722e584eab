"""The caller's voice: its sound at 16 kHz, and where speech begins and ends (positions in samples)."""

from __future__ import annotations

from schemas.event import Audio, Event


class CallerPcm(Audio, frozen=True, tag="caller.pcm"):
    """Caller sound at 16 kHz, numbered from the start of the call. Media lane.

    `onset` names the newest speech known 100 ms before this sound (-1: none yet), `ended` whether it is
    over, `voiced` how much of it was voice, in samples: the events that tell it may be lost on their lane.
    """

    channel: int = 0
    onset: int = -1
    ended: bool = True
    voiced: int = 0


class SpeechLikely(Event, frozen=True, tag="speech.likely"):
    """A sound that may be speech ends before sample `at` (16 kHz): playback lowers the voice meanwhile.

    `speech.started` follows within about 100 ms, or nothing does. `floor_dbfs`: how loud it was before.
    """

    at: int
    channel: int = 0
    probability: float = 0.0
    level_dbfs: float = 0.0
    floor_dbfs: float = 0.0


class SpeechStarted(Event, frozen=True, tag="speech.started"):
    """The acoustic onset: speech was detected, beginning at sample `onset` (16 kHz)."""

    onset: int
    channel: int = 0
    probability: float = 0.0
    level_dbfs: float = 0.0


class SpeechContinued(Event, frozen=True, tag="speech.continued"):
    """The voice activity track while speech lasts; positions and lengths in samples.

    Every 32 ms in the first quarter of a second, then every 96 ms.
    `voiced` counts voiced samples since `onset`; `silent` how long it has been quiet right now.
    `floor`: natural log-odds, by its sound so far, that somebody takes the floor, and not that several
    people talk somewhere; told of what lasts and varies little in level, once a second. 0.0: not told.
    """

    onset: int
    end: int
    voiced: int
    silent: int
    channel: int = 0
    probability: float = 0.0
    level_dbfs: float = 0.0
    floor: float = 0.0


class SpeechPaused(Event, frozen=True, tag="speech.paused"):
    """The caller pauses at sample `end`, and an engine has listened to what he said.

    Told with `turns.endpointing = "smart-turn"` alone. `onset`, `voiced`: as in `speech.continued`, of that
    moment. `done`: natural log-odds, by the sound, that his turn is over.
    """

    onset: int
    end: int
    voiced: int
    done: float
    channel: int = 0


class SpeechEnded(Event, frozen=True, tag="speech.ended"):
    """Speech that began at `onset` had its last voiced sample before `end` (16 kHz).

    `murmur`: by its level it was nobody's but the sound of many voices far off; the background from now on.
    `floor`: natural log-odds, by its sound, that it wants the floor; 0.0 where it is too long to tell. Of a
    murmur that of its last two seconds: where it is sure, it was one voice after all.
    `masked`: a voice much louder has begun; `speech.started` of that follows.
    """

    onset: int
    end: int
    voiced: int
    channel: int = 0
    murmur: bool = False
    masked: bool = False
    floor: float = 0.0
