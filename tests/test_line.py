"""The line with a real audio_in: what it has sent arrives, whoever was away meanwhile."""

from __future__ import annotations

import asyncio

import numpy as np

from ops.line import Line
from schemas import CallClosed, CallerPcm, CallOpened, CloseCall, Done, OpenCall
from tests.counting import FRAME, numbered
from tests.rig import rig, until
from tests.test_audio_in import actor, joined

CALL = "C1"
SECOND = 16_000


async def test_the_last_frames_reach_an_audio_in_that_was_away_at_the_end() -> None:
    """No frame follows them that could show audio_in what it misses."""
    async with asyncio.timeout(40), rig(CallerPcm, CallClosed) as agent:
        agent.replies = {OpenCall: CallOpened(call=CALL, line="test"), CloseCall: Done()}
        line = Line(agent.context, agent.where, call=CALL)
        await line.__aenter__()
        for first in range(0, SECOND, FRAME):
            line.send(numbered(first, FRAME))
        leaving = asyncio.create_task(line.__aexit__())
        await asyncio.sleep(0)
        async with agent.running(actor()):
            await until(lambda: any(frame.end >= SECOND for frame in agent.past(CallerPcm)))
            await leaving
        sound = joined(agent.past(CallerPcm))
        assert np.array_equal(sound, np.frombuffer(numbered(0, SECOND), np.int16))
