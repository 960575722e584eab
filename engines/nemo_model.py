"""A cache-aware streaming model of NeMo on one thread: windows of several calls go in, words come out.

`conformer_stream_step` is not thread-safe, and what it does wrong it goes on doing: all calls come from one
thread. Calls of different age share a step: their caches lie side by side. The model keeps nothing between
two steps; all that it knows of an utterance is in its `Ear`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from engines.nemo_frames import CONTEXT, HOP, RATE, SUBSAMPLING, Cutter, Window
from engines.nemo_stack import NemoSettings, given_back, out_of_memory, restored, short, unfit
from engines.protocols import EngineError, Spoken

FRAME = HOP * SUBSAMPLING
"""Samples of an encoder frame, 80 ms."""
WORD_BEGINS = "\u2581"
"""How sentencepiece marks the beginning of a word."""


@dataclass(eq=False)
class Ear:
    """One utterance in the model. `at`: the encoder frame of each token.

    `caches`: of attention [layers, 1, left, width], of convolutions [layers, 1, width, kernel - 1], and how
    much of the first is filled [1].
    """

    caches: tuple[Any, Any, Any]
    decoder: Any = None
    tokens: list[int] = field(default_factory=list)
    at: list[int] = field(default_factory=list)

    def fork(self) -> Ear:
        """Another one that has heard the same. A step makes new caches: nothing is copied."""
        return replace(self, tokens=[*self.tokens], at=[*self.at])


class NemoModel:
    """Not thread-safe: all calls from one thread."""

    def __init__(self, settings: NemoSettings) -> None:
        self._settings = settings
        self._model: Any = None
        self._torch: Any = None
        self.ahead = settings.att_context_ms * RATE // 1000 // FRAME - 1
        """Encoder frames that a frame may look ahead."""

    def load(self) -> None:
        """Weights, and steps of all kinds with as many calls as there may be; nothing if they are there.

        Raises EngineError; nothing of the weights is kept then.
        """
        if self._model is None and (wrong := self._load()):
            self._model = None
            given_back()
            raise EngineError(wrong)

    def close(self) -> None:
        """Let go of the weights."""
        self._model = None

    def ear(self) -> Ear:
        """For an utterance that begins. Raises EngineError."""
        with self._failing():
            return self._ear()

    def step(self, work: Sequence[tuple[Ear, Window]]) -> list[str]:
        """One step of each; the text of each so far. Raises EngineError: then none of them can go on."""
        with self._failing():
            return self._steps(work)

    def words(self, ear: Ear, first: int, end: int) -> tuple[Spoken, ...]:
        """Its words, in samples of the call: estimates, a model may tell a word when it is over.

        Raises EngineError.
        """
        with self._failing():
            pieces = self._model.tokenizer.ids_to_tokens(ear.tokens)
            return placed(self._text(ear).split(), pieces, ear.at, first, end)

    def forget(self) -> None:
        """Give memory that nobody uses back to the device."""
        if self._torch is not None and self._torch.cuda.is_initialized():
            self._torch.cuda.empty_cache()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Whatever NeMo fails of comes out as EngineError; the calls it worked for are lost."""
        try:
            yield
        except self._torch.OutOfMemoryError as error:
            raise EngineError(out_of_memory(self._settings.device, error)) from None
        except Exception as error:  # noqa: BLE001 - of four libraries
            raise EngineError(f"NeMo failed: {short(error)}") from None

    # -- loading ---------------------------------------------------------------------------------

    def _load(self) -> str:
        """What went wrong, "" if nothing: an exception's frames would hold the weights."""
        name = self._settings.model
        try:
            model = restored("nemo.model", name, self._settings)
            self._torch = importlib.import_module("torch")
            self._check(model)
            self._set_up(model)
            self._model = model
            self._warm_up()
        except EngineError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - of four libraries; it always means: this won't do
            return unfit("nemo.model", name, error, self._settings)
        return ""

    def _check(self, model: Any) -> None:
        """Raises EngineError unless it can stream as this does it."""
        name = self._settings.model
        encoder: Any = getattr(model, "encoder", None)
        rnnt = hasattr(model, "joint")
        contexts = [list(one) for one in getattr(encoder, "att_context_size_all", ())]
        style = getattr(encoder, "att_context_style", "")
        if not rnnt or style != "chunked_limited" or encoder.subsampling_factor != SUBSAMPLING:
            raise EngineError(
                f"{name} is no cache-aware streaming transducer ({type(model).__name__}): name another in "
                "nemo.model; as stt.batch_engine it may do"
            )
        if model.cfg.preprocessor.get("normalize") not in (None, "NA"):
            raise EngineError(
                f"{name} wants sound normalised over the whole utterance: it can't be streamed, name "
                "another in nemo.model"
            )
        if self.ahead not in [right for _, right in contexts]:
            offered = ", ".join(str((right + 1) * FRAME * 1000 // RATE) for _, right in contexts)
            raise EngineError(
                f"{name} offers contexts of {offered} ms: set nemo.att_context_ms to one of them"
            )

    def _set_up(self, model: Any) -> None:
        contexts = [list(one) for one in model.encoder.att_context_size_all]
        model.encoder.set_default_att_context_size(
            next(one for one in contexts if one[1] == self.ahead)
        )
        open_dict = importlib.import_module("omegaconf").open_dict
        with open_dict(model.cfg.decoding):
            model.cfg.decoding.strategy = "greedy_batch"
            model.cfg.decoding.compute_timestamps = False
            model.cfg.decoding.greedy.loop_labels = True
            model.cfg.decoding.greedy.use_cuda_graph_decoder = False
        model.change_decoding_strategy(model.cfg.decoding, verbose=False)

    def _warm_up(self) -> None:
        """An utterance of four chunks of silence, as often as there may be calls."""
        every = [(self._ear(), Cutter(self.ahead)) for _ in range(self._settings.max_sessions)]
        for _, cutter in every:
            cutter.close(4 * (self.ahead + 1) * FRAME)
        while windows := [(ear, window) for ear, cutter in every if (window := cutter.next())]:
            self._steps(windows)

    # -- a step; raises what NeMo raises ---------------------------------------------------------

    def _ear(self) -> Ear:
        encoder = self._model.encoder
        parameter = next(encoder.parameters())
        return Ear(encoder.get_initial_cache_state(1, parameter.dtype, parameter.device))

    def _text(self, ear: Ear) -> str:
        """What was heard so far."""
        said: str = self._model.decoding.decode_tokens_to_str_with_strip_punctuation(ear.tokens)
        return said.strip()

    def _steps(self, work: Sequence[tuple[Ear, Window]]) -> list[str]:
        with self._torch.inference_mode():
            for drop in {window.drop for _, window in work}:
                self._step([one for one in work if one[1].drop == drop], drop)
        return [self._text(ear) for ear, _ in work]

    def _step(self, work: Sequence[tuple[Ear, Window]], drop: int) -> None:
        """Calls with as many encoder frames to drop: it is one number for all of a batch."""
        torch, model = self._torch, self._model
        mel, lengths = self._mel([window for _, window in work])
        caches = [ear.caches for ear, _ in work]
        kept = importlib.import_module("nemo.collections.asr.parts.utils.rnnt_utils").Hypothesis
        _, _, channel, time, filled, heard = model.conformer_stream_step(
            processed_signal=mel,
            processed_signal_length=lengths,
            cache_last_channel=torch.cat([cache[0] for cache in caches], dim=1),
            cache_last_time=torch.cat([cache[1] for cache in caches], dim=1),
            cache_last_channel_len=torch.cat([cache[2] for cache in caches]),
            keep_all_outputs=True,
            drop_extra_pre_encoded=drop,
            # With nothing in them but the decoder's state, what comes back is what is new.
            previous_hypotheses=[
                kept(score=0.0, y_sequence=None, timestamp=None, dec_state=ear.decoder)
                for ear, _ in work
            ],
        )
        for n, (ear, _) in enumerate(work):
            # Copies: a part of a tensor would hold the other calls' parts in memory.
            ear.caches = (
                channel[:, n : n + 1].clone(),
                time[:, n : n + 1].clone(),
                filled[n : n + 1].clone(),
            )
            ear.decoder = heard[n].dec_state
            ear.tokens += heard[n].y_sequence.tolist()
            ear.at += heard[n].timestamp.tolist()

    def _mel(self, windows: Sequence[Window]) -> tuple[Any, Any]:
        """Mel frames [calls, bands, frames], and how many of them each has [calls]."""
        torch, model = self._torch, self._model
        device = next(model.encoder.parameters()).device
        longest = max(len(window.sound) for window in windows)
        sound = torch.zeros(len(windows), longest)
        for n, window in enumerate(windows):
            sound[n, : len(window.sound)] = torch.from_numpy(window.sound)
        samples = torch.full((len(windows),), longest, dtype=torch.int64)
        mel, _ = model.preprocessor(
            input_signal=sound.to(device, non_blocking=True), length=samples.to(device)
        )
        frames = torch.tensor([window.frames for window in windows], dtype=torch.int64)
        mel = mel[:, :, CONTEXT : CONTEXT + int(frames.max())]
        return mel, frames.to(device)


def placed(
    words: Sequence[str], pieces: Sequence[str], at: Sequence[int], first: int, end: int
) -> tuple[Spoken, ...]:
    """`words` at the samples of the call where their pieces were told, encoder frame `at` for each.

    If pieces and words don't agree (a byte spelt out, a mark taken off), they are spread evenly.
    """
    begins = [n for n, piece in enumerate(pieces) if n == 0 or piece.startswith(WORD_BEGINS)]
    if len(begins) == len(words):
        edges = [first + at[n] * FRAME for n in begins]
    else:
        edges = [first + (end - first) * n // len(words) for n in range(len(words))]
    edges = [min(edge, end) for edge in [*edges, end]]
    last = first + (at[-1] + 1) * FRAME if at else end
    spans = list(pairwise(edges))
    return tuple(
        Spoken(word, start, max(start, min(stop, last)))
        for word, (start, stop) in zip(words, spans, strict=True)
    )
