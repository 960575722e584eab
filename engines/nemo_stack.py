"""NeMo's packages and its models: a name or a file goes in, a model on its device comes out, or why not.

The packages live in an environment of their own (`make engine-nemo`); nothing of them is imported before
`restored` is called, and that takes 7 to 11 s.
"""

from __future__ import annotations

import gc
import importlib
import logging
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engines.protocols import EngineError

RATE = 16_000
STACK = "make engine-nemo"
TORCH = "2.13"
"""What constraints/nemo.txt pins; others were not tried."""
SMALL = Path(__file__).parent / "models" / "nemo-small.nemo"
"""The model that comes along; its card is beside it."""
SMALL_CONTEXT_MS = 160
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class NemoSettings:
    """See config/fleet.toml, [nemo]. Models: `.nemo` files, or names on the hub."""

    model: str = "nvidia/nemotron-speech-streaming-en-0.6b"
    batch_model: str = "nvidia/parakeet-tdt-0.6b-v2"
    att_context_ms: int = 160
    device: str = "auto"
    max_sessions: int = 2
    tail_ms: int = 320
    cpu_threads: int = 1


def small(settings: NemoSettings) -> NemoSettings:
    """The same with the model that comes along, and its one look-ahead."""
    return replace(settings, model=str(SMALL), att_context_ms=SMALL_CONTEXT_MS)


def restored(key: str, name: str, settings: NemoSettings) -> Any:
    """The model `name`, ready to be used in the thread that calls this. `key`: the setting that names it.

    Raises EngineError, saying what to do.
    """
    torch = stack()
    device = _device(torch, settings.device)
    torch.set_num_threads(settings.cpu_threads)
    kind = importlib.import_module("nemo.collections.asr.models").ASRModel
    try:
        model = _read(kind, key, name, device)
    except EngineError:
        raise
    except torch.OutOfMemoryError as error:
        raise EngineError(out_of_memory(device, error)) from None
    except Exception as error:  # noqa: BLE001 - of five libraries; it always means: this won't do
        raise EngineError(_refused(key, name, error)) from None
    rate = model.cfg.preprocessor.sample_rate
    if rate != RATE:
        raise EngineError(
            f"{name} hears sound at {rate} Hz, calls have {RATE} Hz: name another in {key}"
        )
    model.preprocessor.featurizer.dither = 0.0
    model.preprocessor.featurizer.pad_to = 0
    model.freeze()
    return model.eval()


def stack() -> Any:
    """torch, with NeMo beside it. Raises EngineError."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise EngineError(f"NeMo's packages are not here: run `{STACK}`") from None
    if not str(torch.__version__).startswith(f"{TORCH}."):
        raise EngineError(f"torch is {torch.__version__}, NeMo needs {TORCH} here: run `{STACK}`")
    try:
        importlib.import_module("nemo.utils").logging.set_verbosity(logging.ERROR)
        importlib.import_module("nemo.collections.asr.models")
    except (ImportError, AttributeError, OSError) as error:
        raise EngineError(
            f"NeMo's packages are not all here, or don't fit ({short(error)}): run `{STACK}`"
        ) from None
    return torch


def out_of_memory(device: object, error: BaseException) -> str:
    """What to do about it."""
    return (
        f"NeMo finds too little memory on {device}: end what else uses it, lower nemo.max_sessions, or set "
        f"nemo.device = 'cpu' ({short(error)})"
    )


def unfit(key: str, name: str, error: Exception, settings: NemoSettings) -> str:
    """Why the model `name` was read and then could not be made ready, and what to do."""
    torch = importlib.import_module("torch")
    if isinstance(error, torch.OutOfMemoryError):
        return out_of_memory(settings.device, error)
    why = f"{name} was read but can't be used ({short(error)})"
    return f"{why}: name another in {key}, or run `{STACK}` again"


def given_back() -> None:
    """After a model was let go of: its memory is the device's again. Modules refer to each other."""
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def short(error: BaseException) -> str:
    """Its first line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _device(torch: Any, wanted: str) -> str:
    cuda = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda" if cuda else "cpu"
    if wanted.startswith("cuda") and not cuda:
        raise EngineError("nemo.device is 'cuda', but torch sees no GPU: set 'auto' or 'cpu'")
    return wanted


def _read(kind: Any, key: str, name: str, device: str) -> Any:
    if name.endswith(".nemo"):
        if not Path(name).is_file():
            raise EngineError(f"no file {name}: name a .nemo file, or a model on the hub, in {key}")
        return kind.restore_from(name, map_location=device)
    if not HUB_NAME.fullmatch(name):
        raise EngineError(
            f"{name!r} is neither a .nemo file nor OWNER/NAME of a model on the hub: mend {key}"
        )
    return kind.from_pretrained(name, map_location=device)


def _refused(key: str, name: str, error: Exception) -> str:
    if name.endswith(".nemo"):
        return f"{name} is no NeMo model, or damaged: fetch it again ({short(error)})"
    return (
        f"{name} can't be had from the hub: try again when it can be reached, or name a .nemo file in "
        f"{key} ({short(error)})"
    )
