"""Chatterbox on one thread: a sentence goes in, watermarked sound comes out in chunks; it stops when told.

The model has no streaming and no cancel; both are put into it with forward hooks. Each generated token
passes `t3.speech_emb`: every so many, what there is goes through flow and vocoder, a few tokens of context
in front. Before each layer of all four networks `stop` is looked at, and a private exception ends the work
there; on a GPU only after the device has done what was enqueued, so that `speak` returns when it is idle.
No exception of theirs is kept: its frames hold the caches of the synthesis.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engines.protocols import EngineError
from engines.seams import Seams, Sound

RATE = 24_000
SAMPLES_PER_TOKEN = 960
LOOK_AHEAD = 3
"""Tokens whose sound depends on the ones to come: it is made with the next chunk."""
SPEECH_TOKENS = 6561
"""Tokens from here on are marks of the model, no sound."""
SILENCE_TOKEN = 4299
MOST_TOKENS = 1000
Tell = Callable[[bytes, bool], None]
"""Mono int16 PCM at 24 kHz, and whether it is the last."""
STACK = "make engine-chatterbox"
TORCH = "2.13"
"""What constraints/chatterbox.txt pins; others were not tried."""


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
    flow_steps: int = 0
    temperature: float = 0.8
    cfg_weight: float = 0.5
    exaggeration: float = 0.5
    seed: int = 1


class _Stop(BaseException):
    """Raised in a hook; leaves `speak` nowhere."""


@dataclass
class _Run:
    """One synthesis. `over`: it came to its end."""

    stop: threading.Event
    tell: Tell
    tokens: list[int] = field(default_factory=list)
    next_at: int = 0
    seams: Seams = field(default_factory=Seams)
    over: bool = False


class ChatterboxModel:
    """Not thread-safe: all calls from one thread."""

    def __init__(self, settings: ChatterboxSettings) -> None:
        self._settings = settings
        self._model: Any = None
        self._torch: Any = None
        self._device = "cpu"
        self._run: _Run | None = None

    def load(self) -> None:
        """Weights, voice, hooks, and one sentence to warm up. Raises EngineError."""
        self._torch = stack()
        self._device = self._chosen()
        if wrong := self._loaded():
            self.close()
            raise EngineError(wrong)
        self._hook()
        try:
            self.speak("Hello.", threading.Event(), lambda pcm, last: None)
        except EngineError:
            self.close()
            raise

    def speak(self, text: str, stop: threading.Event, tell: Tell) -> bool:
        """Whether it was said to its end. `tell` is called in this thread.

        When this returns, the device is idle: nothing of the synthesis goes on. Raises EngineError.
        """
        run = _Run(stop, tell, next_at=self._settings.first_tokens + LOOK_AHEAD)
        wrong = self._spoken(text, run)
        if wrong:
            self._give_back()
            raise EngineError(wrong)
        return run.over

    def close(self) -> None:
        """Let go of the weights."""
        self._model = None
        if self._torch is not None:
            self._give_back()

    # -- loading ---------------------------------------------------------------------------------

    def _chosen(self) -> str:
        wanted, cuda = self._settings.device, self._torch.cuda.is_available()
        if wanted == "auto":
            return "cuda" if cuda else "cpu"
        if wanted.startswith("cuda") and not cuda:
            raise EngineError(
                "chatterbox.device is 'cuda', but torch sees no GPU: set 'auto' or 'cpu'"
            )
        return wanted

    def _source(self) -> str:
        return self._settings.model or "the hub"

    def _loaded(self) -> str:
        """What went wrong, "" if nothing."""
        try:
            self._model = self._made()
            self._prepare_voice()
        except EngineError as error:
            return str(error)
        except self._torch.OutOfMemoryError as error:
            return self._out_of_memory(error)
        except Exception as error:  # noqa: BLE001 - four libraries; it always means: these files won't do
            advice = (
                "check chatterbox.model and chatterbox.turbo"
                if self._settings.model
                else "try again when it can be reached, or name a folder in chatterbox.model"
            )
            return f"Chatterbox can't be loaded from {self._source()}: {advice} ({_short(error)})"
        return ""

    def _out_of_memory(self, error: BaseException) -> str:
        return (
            f"Chatterbox finds too little memory on {self._device}: end what else uses it, or set "
            f"chatterbox.device = 'cpu' ({_short(error)})"
        )

    def _made(self) -> Any:
        perth = importlib.import_module("perth")
        if perth.PerthImplicitWatermarker is None:
            raise EngineError(
                f"Chatterbox's watermarker needs setuptools < 81: run `{STACK}` again"
            )
        module, name = (
            ("chatterbox.tts_turbo", "ChatterboxTurboTTS")
            if self._settings.turbo
            else ("chatterbox.tts", "ChatterboxTTS")
        )
        kind = getattr(importlib.import_module(module), name)
        _silence()
        if not self._settings.model:
            return kind.from_pretrained(self._device)
        folder = Path(self._settings.model)
        if not folder.is_dir():
            raise EngineError(
                f"no folder {folder}: name one with Chatterbox's files in chatterbox.model"
            )
        return kind.from_local(folder, self._device)

    def _prepare_voice(self) -> None:
        wav = self._settings.voice_wav
        if wav:
            self._take_voice(wav)
        elif self._model.conds is None:
            raise EngineError(
                f"{self._source()} brings no voice along: name a WAV of 6 to 10 s in chatterbox.voice_wav"
            )
        elif not self._settings.turbo:
            liveliness = self._settings.exaggeration * self._torch.ones(1, 1, 1)
            self._model.conds.t3.emotion_adv = liveliness.to(self._device)

    def _take_voice(self, wav: str) -> None:
        if not Path(wav).is_file():
            raise EngineError(f"no voice at {wav}: name a WAV of 6 to 10 s in chatterbox.voice_wav")
        if self._settings.turbo:
            self._model.norm_loudness = self._as_loud
        try:
            self._model.prepare_conditionals(wav, exaggeration=self._settings.exaggeration)
        except self._torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - of four libraries; it always means: this WAV won't do
            raise EngineError(
                f"{wav} can't be taken as a voice: name a WAV of 6 to 10 s in chatterbox.voice_wav "
                f"({_short(error)})"
            ) from None

    def _as_loud(self, sound: Sound, rate: int) -> Sound:
        """Turbo's own, which with NumPy 2 makes doubles, that its networks refuse."""
        model = self._model
        return np.asarray(type(model).norm_loudness(model, sound, rate), np.float32)

    def _hook(self) -> None:
        """Where the networks can be stopped, and where tokens pass."""
        model = self._model
        model.t3.speech_emb.register_forward_pre_hook(self._token)
        for layer in _layers(model.t3.tfmr):
            layer.register_forward_pre_hook(self._look)
        flow = model.s3gen.flow
        for network in (flow.encoder, flow.decoder.estimator, model.s3gen.mel2wav):
            for layer in _layers(network):
                layer.register_forward_pre_hook(self._look_and_wait)
        marker = model.watermarker.perth_net
        for layer in (*_layers(marker.encoder), *_layers(marker.ap)):
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
        if self._device != "cpu":
            self._torch.cuda.synchronize(self._device)

    def _give_back(self) -> None:
        """Memory that nobody uses, to the device."""
        if self._torch.cuda.is_initialized():
            self._torch.cuda.empty_cache()

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

    def _spoken(self, text: str, run: _Run) -> str:
        """What went wrong, "" if nothing."""
        if run.stop.is_set():
            return ""
        self._torch.manual_seed(self._settings.seed)
        try:
            try:
                with self._torch.inference_mode():
                    self._generate(text, run)
                    self._finish(run)
                run.over = True
            except _Stop:
                pass
            finally:
                self._run = None
                self._settle()
        except EngineError as error:
            return str(error)
        except self._torch.OutOfMemoryError as error:
            return self._out_of_memory(error)
        except Exception as error:  # noqa: BLE001 - of four libraries; it always means: not said
            return f"Chatterbox failed: {_short(error)}"
        return ""

    def _generate(self, text: str, run: _Run) -> None:
        """All tokens; sound of the first ones is made on the way."""
        model = self._model
        most = min(MOST_TOKENS, 60 + 5 * len(text))
        text = importlib.import_module(type(model).__module__).punc_norm(text)
        ids = self._ids(text)
        if ids.shape[1] > model.t3.hp.max_text_tokens:
            raise EngineError(  # the device would fail, and with it all that comes after
                f"Chatterbox can't say {ids.shape[1]} tokens at once, at most "
                f"{model.t3.hp.max_text_tokens}: cut the text into sentences"
            )
        self._run = run
        silence = LOOK_AHEAD if self._settings.turbo else 0
        run.tokens = [*self._sounds(self._tokens(ids, most)), *[SILENCE_TOKEN] * silence]

    def _ids(self, text: str) -> Any:
        """Tokens of the text: Turbo's [1, length]; the base model's [2, length], with marks around them."""
        model, torch = self._model, self._torch
        if self._settings.turbo:
            asked = model.tokenizer(text, return_tensors="pt", padding=True, truncation=True)
            return asked.input_ids.to(model.device)
        ids = model.tokenizer.text_to_tokens(text).to(model.device)
        ids = torch.cat([ids, ids])  # with and without the text, for classifier-free guidance
        ids = torch.nn.functional.pad(ids, (1, 0), value=model.t3.hp.start_text_token)
        return torch.nn.functional.pad(ids, (0, 1), value=model.t3.hp.stop_text_token)

    def _tokens(self, ids: Any, most: int) -> Any:
        settings, model = self._settings, self._model
        given = {"t3_cond": model.conds.t3, "text_tokens": ids, "temperature": settings.temperature}
        if settings.turbo:
            return model.t3.inference_turbo(**given, max_gen_len=most)
        return model.t3.inference(
            **given, max_new_tokens=most, cfg_weight=settings.cfg_weight, top_p=1.0
        )

    def _sounds(self, said: Any) -> list[int]:
        return [int(token) for token in said.reshape(-1).tolist() if token < SPEECH_TOKENS]

    # -- tokens to sound -------------------------------------------------------------------------

    def _finish(self, run: _Run) -> None:
        if len(run.tokens) * SAMPLES_PER_TOKEN > run.seams.made:
            self._make(run, last=True)

    def _make(self, run: _Run, last: bool) -> None:
        """Sound of all tokens that have none yet, with a few before them for context."""
        known = run.seams.made // SAMPLES_PER_TOKEN
        start = max(0, known - self._settings.context_tokens)
        sound = self._sound(run.tokens[start:], last)
        if start == 0:
            fade = self._model.s3gen.trim_fade.cpu().numpy()
            sound[: len(fade)] *= fade[: len(sound)]
        sound = self._model.watermarker.apply_watermark(sound, sample_rate=RATE)
        new = run.seams.join(sound, start * SAMPLES_PER_TOKEN, last)
        self._look(None, None)
        if len(new) or last:
            run.tell(to_int16(new), last)

    def _sound(self, tokens: list[int], last: bool) -> Sound:
        """SAMPLES_PER_TOKEN samples a token; without the last LOOK_AHEAD of them unless it is the end.

        The flow's own `finalize=False` does that too, but with a mask of the wrong length: it fails.
        """
        s3gen, torch = self._model.s3gen, self._torch
        ids = torch.tensor(tokens, device=self._model.device)
        mel = s3gen.flow_inference(
            ids,
            ref_dict=self._model.conds.gen,
            finalize=True,
            n_cfm_timesteps=self._settings.flow_steps or None,
        )
        wav, _ = s3gen.hift_inference(mel.to(dtype=s3gen.dtype), None)
        made: Sound = wav.squeeze(0).float().cpu().numpy()
        return made if last else made[: len(made) - LOOK_AHEAD * SAMPLES_PER_TOKEN]


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
    """torch, and a torchaudio that can be imported beside a CPU-only torch. Raises EngineError."""
    os.environ.setdefault(
        "TQDM_DISABLE", "1"
    )  # a bar for each sentence would be all there is in the log
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise EngineError(f"Chatterbox's packages are not here: run `{STACK}`") from None
    if not str(torch.__version__).startswith(f"{TORCH}."):
        raise EngineError(
            f"torch is {torch.__version__}, Chatterbox needs {TORCH} here: run `{STACK}`"
        )
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


def _silence() -> None:
    """Turbo's flow prints a line for each chunk."""
    flow = importlib.import_module("chatterbox.models.s3gen.flow_matching")
    vars(flow)["print"] = lambda *words: None


def _short(error: BaseException) -> str:
    """Its first line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
