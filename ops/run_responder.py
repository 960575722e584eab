"""In come [responder] and [llm] of fleet.toml, out goes the embedded responder, serving or idle."""

from __future__ import annotations

import asyncio
import signal
import sys

from bus.errors import BargeinError, SettingsError
from bus.sections import Responder
from bus.settings import load
from ops.fleet_checks import responder_is_asked


def main() -> int:
    """Serve until SIGTERM; idle, without the port, when llm.url leads elsewhere."""
    try:
        settings = load()
        if responder_is_asked(settings):
            serve(settings.responder)
        else:
            print(f"responder: idle, llm.url is {settings.llm.url}", flush=True)
            signal.sigwait({signal.SIGTERM, signal.SIGINT})
    except BargeinError as error:
        print(f"responder: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def serve(options: Responder) -> None:
    """Until SIGTERM. Raises SettingsError when the address can't be had."""
    from engines.responder.server import Pace, Server, Stats, application, bound

    address = f"{options.host}:{options.port}"
    try:
        sock = bound(options.host, options.port)
    except OSError as error:
        raise SettingsError(
            f"can't listen on {address} ({error.strerror}); change responder.port and llm.url in "
            "config/fleet.toml, then `bargein restart responder`"
        ) from None
    print(f"responder: listening on http://{address}", flush=True)
    pace = Pace(options.tokens_per_s, options.first_token_ms / 1000)
    asyncio.run(Server(application(pace, Stats())).serve(sockets=[sock]))


if __name__ == "__main__":
    sys.exit(main())
