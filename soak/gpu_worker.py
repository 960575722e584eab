"""What the processes of `gpu_check` share: their device, how much memory they hold, and lines of JSON."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

import psutil


class Worker:
    """One process: `folder` is its own, `small` that its model is a shrunken one, on the CPU."""

    def __init__(self, arguments: list[str]) -> None:
        self.folder, self.small = Path(arguments[0]), arguments[1] == "small"
        self.arguments = arguments[2:]
        self._out: TextIO = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._torch: Any = importlib.import_module("torch")
        self.device = "cpu" if self.small else "cuda"
        if self.small:
            self._torch.set_num_threads(1)
        elif not self._torch.cuda.is_available():
            sys.exit(f"torch {self._torch.__version__} sees no GPU; `--small` needs none")
        self.folder.mkdir(parents=True, exist_ok=True)

    def wait(self) -> None:
        """Until the device is idle."""
        if not self.small:
            self._torch.cuda.synchronize()

    @property
    def idle(self) -> bool:
        """Whether nothing of this process is left to be done on it."""
        return self.small or bool(self._torch.cuda.current_stream().query())

    def memory_mb(self) -> float:
        """RSS, and what torch holds of the device; MB (10^6 bytes)."""
        held: float = psutil.Process().memory_info().rss
        if not self.small:
            held += self._torch.cuda.memory_reserved()
        return held / 1e6

    def ready(self) -> None:
        """Say so, and wait until all are."""
        name = "none" if self.small else self._torch.cuda.get_device_name()
        size = "shrunken" if self.small else "whole"
        self.tell(ready=True, card=name, torch=str(self._torch.__version__), size=size)
        sys.stdin.readline()

    def tell(self, **figures: Any) -> None:
        """One line to whoever started this."""
        self._out.write(json.dumps(figures) + "\n")
        self._out.flush()
