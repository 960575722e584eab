"""Pocketsphinx as an SttEngine: US English, embedded, in processes of about 110 MB.

pocketsphinx holds the GIL for up to 52 ms per 20 ms packet (decision 4 in docs/decisions). A child has
loaded its model after 0.3 to 0.5 s.
"""

from __future__ import annotations

from engines.stt_process import PARTIAL_MS, Decoder, ProcessEngine

POCKETSPHINX = Decoder("pocketsphinx", "engines.pocketsphinx_child", looks_again=True)


class PocketsphinxEngine(ProcessEngine):
    """SttEngine on pocketsphinx."""

    def __init__(self, partial_ms: int = PARTIAL_MS) -> None:
        """`partial_ms`: milliseconds of sound between two looks for new partial text."""
        super().__init__(POCKETSPHINX, partial_ms)
