"""Chatterbox on one thread: a sentence goes in, watermarked sound comes out in chunks; it stops when told.

The model has no streaming and no cancel; both are put into it with forward hooks. Each generated token
passes `t3.speech_emb`: every so many, what there is goes through flow and vocoder, a few tokens of context
in front. Before each layer of all four networks `stop` is looked at, and a private exception ends the work
there; on a GPU only after the device has done what was enqueued, so that `speak` returns when it is idle.
"""

from __future__ import annotations

import importlib
import sys
import threading
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.protocols import EngineError

RATE = 24_000
SAMPLES_PER_TOKEN = 960
LOOK_AHEAD = 3
"""Tokens whose sound depends on the ones to come: it is made with the next chunk."""
SPEECH_TOKENS = 6561
"""Tokens from here on are marks of the model, no sound."""
SILENCE_TOKEN = 4299
FADE = 480
"""Samples, 20 ms, over which a chunk is blended into the next."""
MOST_TOKENS = 1000
Sound = npt.NDArray[np.float32]
Tell = Callable[[bytes, bool], None]
"""Mono int16 PCM at 24 kHz, and whether it is the last."""
STACK = "make engine-chatterbox"


@dataclass(frozen=True)
class ChatterboxSettings:
    """See config/fleet.toml, [chatterbox]. `model`: a folder, or "" for the hub."""

    model: str = ""
    turbo: bool = False
    voice_wav: str = ""
    device: str = "auto"
    first_tokens: int = 15
    chunk_tokens: int = 25
    context_tokens: int = 12
    temperature: float = 0.8
    cfg_weight: float = 0.5
    exaggeration: float = 0.5
    seed: int = 1


class _Stop(BaseException):
    """Raised in a hook; leaves `speak` nowhere."""


@dataclass
class _Run:
    """One synthesis. `made`: samples that left; `tail`: the last made ones, to be blended."""

    stop: threading.Event
    tell: Tell
    tokens: list[int] = field(default_factory=list)
    next_at: int = 0
    made: int = 0
    tail: Sound = field(default_factory=lambda: np.zeros(0, np.float32))


class ChatterboxModel:
    """Not thread-safe: all calls from one thread."""

    def __init__(self, settings: ChatterboxSettings) -> None:
        self._settings = settings
        self._model: Any = None
        self._torch: Any = None
        self._cuda = False
        self._run: _Run | None = None

    def load(self) -> None:
        """Weights, voice, hooks, and one sentence to warm up. Raises EngineError."""
        self._torch = stack()
        device = self._device()
        try:
            self._model = self._loaded(device)
            self._prepare_voice()
        except EngineError:
            raise
        except self._torch.OutOfMemoryError as error:
            raise EngineError(
                f"Chatterbox finds too little memory on {device}: end what else uses it, or set "
                f"chatterbox.device = 'cpu' ({_short(error)})"
            ) from None
        except Exception as error:  # noqa: BLE001 - four libraries; it always means: these files won't do
            raise EngineError(
                f"Chatterbox can't be loaded from {self._source()}: {_short(error)}"
            ) from None
        self._hook()
        self.speak("Hello.", threading.Event(), lambda pcm, last: None)

    def speak(self, text: str, stop: threading.Event, tell: Tell) -> bool:
        """Whether it was said to its end. `tell` is called in this thread.

        When this returns, the device is idle: nothing of the synthesis goes on. Raises EngineError.
        """
        run = _Run(stop, tell, next_at=self._settings.first_tokens + LOOK_AHEAD)
        self._torch.manual_seed(self._settings.seed)
        try:
            with self._torch.inference_mode():
                self._generate(text, run)
                self._finish(run)
        except _Stop:
            return False
        except RuntimeError as error:
            raise EngineError(f"Chatterbox failed: {_short(error)}") from None
        finally:
            self._run = None
            self._settle()
        return True

    # -- loading ---------------------------------------------------------------------------------

    def _device(self) -> str:
        wanted, cuda = self._settings.device, self._torch.cuda.is_available()
        if wanted == "auto":
            wanted = "cuda" if cuda else "cpu"
        if wanted.startswith("cuda") and not cuda:
            raise EngineError(
                "chatterbox.device is 'cuda', but torch sees no GPU: set 'auto' or 'cpu'"
            )
        self._cuda = wanted.startswith("cuda")
        return wanted

    def _source(self) -> str:
        return self._settings.model or "the hub"

    def _loaded(self, device: str) -> Any:
        perth = importlib.import_module("perth")
        if perth.PerthImplicitWatermarker is None:
            raise EngineError(
                f"Chatterbox's watermarker needs setuptools < 81: run `{STACK}` again"
            )
        name = (
            ("chatterbox.tts_turbo", "ChatterboxTurboTTS")
            if self._settings.turbo
            else (
                "chatterbox.tts",
                "ChatterboxTTS",
            )
        )
        kind = getattr(importlib.import_module(name[0]), name[1])
        if not self._settings.model:
            return kind.from_pretrained(device)
        folder = Path(self._settings.model)
        if not folder.is_dir():
            raise EngineError(
                f"no folder {folder}: name one with Chatterbox's files in chatterbox.model"
            )
        return kind.from_local(folder, device)

    def _prepare_voice(self) -> None:
        wav = self._settings.voice_wav
        if wav:
            if not Path(wav).is_file():
                raise EngineError(
                    f"no voice at {wav}: name a WAV of 6 to 10 s in chatterbox.voice_wav"
                )
            self._model.prepare_conditionals(wav, exaggeration=self._settings.exaggeration)
        if self._model.conds is None:
            raise EngineError(
                f"{self._source()} brings no voice along: name a WAV of 6 to 10 s in chatterbox.voice_wav"
            )

    def _hook(self) -> None:
        """Where the networks can be stopped, and where tokens pass."""
        model = self._model
        model.t3.speech_emb.register_forward_pre_hook(self._token)
        model.t3.tfmr.register_forward_pre_hook(self._look)
        flow = model.s3gen.flow
        for network in (flow.encoder, flow.decoder.estimator, model.s3gen.mel2wav):
            for layer in _layers(network):
                layer.register_forward_pre_hook(self._look_and_wait)
        for layer in _layers(model.watermarker.perth_net):
            layer.register_forward_pre_hook(self._look)

    # -- in the networks -------------------------------------------------------------------------

    def _look(self, module: Any, inputs: Any) -> None:
        if self._run is not None and self._run.stop.is_set():
            raise _Stop

    def _look_and_wait(self, module: Any, inputs: Any) -> None:
        """These are enqueued without waiting for each other: the device would be seconds behind."""
        self._settle()
        self._look(module, inputs)

    def _settle(self) -> None:
        if self._cuda:
            self._torch.cuda.synchronize()

    def _token(self, module: Any, inputs: Any) -> None:
        """A token of speech is about to be fed back: one more to make sound of."""
        run, ids = self._run, inputs[0]
        if run is None or ids.numel() != 1:
            return
        token = int(ids.item())
        if token >= SPEECH_TOKENS:
            return
        run.tokens.append(token)
        if len(run.tokens) >= run.next_at:
            run.next_at += self._settings.chunk_tokens
            self._make(run, last=False)

    # -- text to tokens --------------------------------------------------------------------------

    def _generate(self, text: str, run: _Run) -> None:
        settings, model, torch = self._settings, self._model, self._torch
        most = min(MOST_TOKENS, 60 + 5 * len(text))
        text = importlib.import_module(type(model).__module__).punc_norm(text)
        if settings.turbo:
            asked = model.tokenizer(text, return_tensors="pt", padding=True, truncation=True)
            ids = asked.input_ids.to(model.device)
            self._run = run
            said = model.t3.inference_turbo(
                t3_cond=model.conds.t3,
                text_tokens=ids,
                temperature=settings.temperature,
                max_gen_len=most,
            )
            tokens = [*self._sounds(said), *[SILENCE_TOKEN] * LOOK_AHEAD]
        else:
            ids = model.tokenizer.text_to_tokens(text).to(model.device)
            ids = torch.cat([ids, ids])  # with and without the text, for classifier-free guidance
            ids = torch.nn.functional.pad(ids, (1, 0), value=model.t3.hp.start_text_token)
            ids = torch.nn.functional.pad(ids, (0, 1), value=model.t3.hp.stop_text_token)
            self._run = run
            said = model.t3.inference(
                t3_cond=model.conds.t3,
                text_tokens=ids,
                max_new_tokens=most,
                temperature=settings.temperature,
                cfg_weight=settings.cfg_weight,
                top_p=1.0,
            )
            tokens = self._sounds(said)
        run.tokens = tokens

    def _sounds(self, said: Any) -> list[int]:
        return [int(token) for token in said.reshape(-1).tolist() if token < SPEECH_TOKENS]

    # -- tokens to sound -------------------------------------------------------------------------

    def _finish(self, run: _Run) -> None:
        if len(run.tokens) * SAMPLES_PER_TOKEN > run.made:
            self._make(run, last=True)

    def _make(self, run: _Run, last: bool) -> None:
        """Sound of all tokens that have none yet, with a few before them for context."""
        known = run.made // SAMPLES_PER_TOKEN
        start = max(0, known - self._settings.context_tokens)
        sound = self._sound(run.tokens[start:], last)
        if start == 0:
            fade = self._model.s3gen.trim_fade.cpu().numpy()
            sound[: len(fade)] *= fade[: len(sound)]
        sound = self._model.watermarker.apply_watermark(sound, sample_rate=RATE)
        new = np.array(sound[run.made - start * SAMPLES_PER_TOKEN :], np.float32)
        new = blended(run.tail, new)
        keep = 0 if last else FADE
        run.tail = new[len(new) - keep :]
        new = new[: len(new) - keep]
        run.made += len(new)
        if len(new) or last:
            run.tell(to_int16(new), last)

    def _sound(self, tokens: list[int], last: bool) -> Sound:
        """SAMPLES_PER_TOKEN samples a token; without the last LOOK_AHEAD of them unless it is the end.

        The flow's own `finalize=False` does that too, but with a mask of the wrong length: it fails.
        """
        s3gen, torch = self._model.s3gen, self._torch
        ids = torch.tensor(tokens, device=self._model.device)
        steps = 2 if self._settings.turbo else None
        mel = s3gen.flow_inference(
            ids, ref_dict=self._model.conds.gen, finalize=True, n_cfm_timesteps=steps
        )
        wav, _ = s3gen.hift_inference(mel.to(dtype=s3gen.dtype), None)
        made: Sound = wav.squeeze(0).float().cpu().numpy()
        return made if last else made[: len(made) - LOOK_AHEAD * SAMPLES_PER_TOKEN]


def blended(tail: Sound, new: Sound) -> Sound:
    """`new` whose first samples are those of `tail` made again: one fades into the other (equal gain)."""
    both = min(len(tail), len(new))
    if both:
        rise = np.linspace(0, 1, both, dtype=np.float32)
        new[:both] = tail[:both] * (1 - rise) + new[:both] * rise
    return new


def to_int16(sound: Sound) -> bytes:
    """PCM; what is too loud is limited."""
    return np.clip(np.round(sound * 32767), -32768, 32767).astype("<i2").tobytes()


def _layers(network: Any) -> list[Any]:
    """The parts a network calls one after the other: its children, and those inside their lists."""
    found: list[Any] = []
    for child in network.children():
        if type(child).__name__ in ("ModuleList", "Sequential"):
            found += _layers(child)
        else:
            found.append(child)
    return found


def stack() -> Any:
    """torch, and a torchaudio that can be imported beside a CPU-only torch."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise EngineError(f"Chatterbox's packages are not here: run `{STACK}`") from None
    try:
        importlib.import_module("torchaudio")
    except OSError:
        _without_extension()
    except ImportError:
        raise EngineError(f"Chatterbox's packages are not all here: run `{STACK}`") from None
    return torch


def _without_extension() -> None:
    """Its compiled part wants CUDA's libraries. All that is used of it does without."""
    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        del sys.modules[name]
    empty = types.ModuleType("torchaudio._extension")
    vars(empty).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=lambda function: function,
    )
    sys.modules["torchaudio._extension"] = empty
    importlib.import_module("torchaudio")


def _short(error: BaseException) -> str:
    """Its first line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
