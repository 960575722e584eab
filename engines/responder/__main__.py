"""Command-line options come in, a responder that serves until SIGTERM goes out."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys

from engines.responder.server import Pace, Server, Stats, application, bound

EX_CONFIG = 78


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m engines.responder", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081, help="0 picks a free one (default 8081)")
    parser.add_argument("--tokens-per-s", type=float, default=40.0, help="words a second")
    parser.add_argument("--first-token-ms", type=float, default=80.0, help="delay of the first")
    options = parser.parse_args()
    if options.tokens_per_s <= 0 or options.first_token_ms < 0:
        parser.error("--tokens-per-s must be above 0 and --first-token-ms 0 or more")
    return options


def main() -> int:
    """Serve; 78 (EX_CONFIG) when the address cannot be had."""
    options = _options()
    try:
        sock = bound(options.host, options.port)
    except (OSError, OverflowError) as error:
        address = f"{options.host}:{options.port}"
        print(f"responder: cannot listen on {address} ({error}); set another port", file=sys.stderr)
        return EX_CONFIG
    app = application(Pace(options.tokens_per_s, options.first_token_ms / 1000), Stats())
    asyncio.run(_serve(Server(app), sock))
    return 0


async def _serve(server: Server, sock: socket.socket) -> None:
    host, port = sock.getsockname()[:2]
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    listening = asyncio.create_task(server.listening.wait())
    await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
    if server.listening.is_set():
        print(f"responder: listening on http://{host}:{port}", file=sys.stderr, flush=True)
    listening.cancel()
    await serving


if __name__ == "__main__":
    sys.exit(main())
