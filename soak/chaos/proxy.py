"""Between llm and its model server: connections go in and come out, until they are to fail."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

RST = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: closing sends RST."""
NOISE = (
    b'data: {"choices": [{"delta": {"content": 7}}]}\n\n\xff\xfe\x00data: {nonsense\n\nid: \n:\n\n'
)
BLOCK = 16_384


class Proxy:
    """A TCP relay on a port of its own. It knows nothing of HTTP; it does what networks do."""

    def __init__(self, port: int) -> None:
        """`port`: where the model server listens."""
        self._server_port = port
        self._listening: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._noise = 0
        self.port = 0

    async def open(self) -> None:
        """Listen; on the same port again after a refusal."""
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Nobody is served any more."""
        if self._listening is not None:
            self._listening.close()
        self.reset()

    def reset(self) -> int:
        """Break every connection with RST; how many there were."""
        count = len(self._links)
        for writer in list(self._links):
            sock = writer.get_extra_info("socket")
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            writer.transport.abort()
        return count

    async def refuse(self, seconds: float) -> None:
        """Nobody listens for a while; what is connected is reset."""
        if self._listening is not None:
            self._listening.close()
        self.reset()
        await asyncio.sleep(seconds)
        await self.open()

    async def stall(self, seconds: float) -> None:
        """Connections stand, nothing comes through."""
        self._flows.clear()
        await asyncio.sleep(seconds)
        self._flows.set()

    def garbage(self) -> None:
        """The next bytes of the server are preceded by what no server should say."""
        self._noise += 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._links.add(writer)
        away = None
        try:
            there, away = await asyncio.open_connection("127.0.0.1", self._server_port)
            self._links.add(away)
            up = asyncio.create_task(self._relay(reader, away))
            await self._relay(there, writer, back=True)
            up.cancel()
        except OSError:
            pass  # either side is gone: so are we
        except asyncio.CancelledError:
            pass  # asyncio.Server would log it as an error of ours
        finally:
            for one in (writer, away):
                if one is not None:
                    self._links.discard(one)
                    one.close()

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: bool = False
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(BLOCK):
                await self._flows.wait()
                if back and self._noise and b"data:" in data:
                    self._noise -= 1
                    data = NOISE + data
                writer.write(data)
                await writer.drain()
