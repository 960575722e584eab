"""`make engine-llama`: the pinned source package goes in, .engines/llama/bin/llama-server comes out.

A llama-server on PATH is taken instead, unless BUILD=1; JOBS sets how many compilers run side by side.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
from pathlib import Path

from bus.errors import BargeinError
from bus.settings import home
from engines.llama_command import built_at

PINS = ("llama.txt", "llama-tools.txt")
INSIDE = "vendor/llama.cpp/"
"""Where the source package keeps llama.cpp."""
ROOM_BYTES = 1_500_000_000
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_NATIVE": "ON",  # for this machine's processor
    "LLAMA_BUILD_COMMON": "ON",
    "LLAMA_BUILD_TOOLS": "ON",
    "LLAMA_BUILD_SERVER": "ON",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",  # it would download a web page
    "LLAMA_OPENSSL": "OFF",
}


class BuildError(BargeinError):
    """llama-server can't be built; the message says what to do."""

    exit_code = 70


def main() -> int:
    """Build, or say what is there already."""
    try:
        make(home(), dict(os.environ))
    except BargeinError as error:
        print(f"engine-llama: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def make(root: Path, env: dict[str, str]) -> None:
    """What is built already stays; else one on PATH will do; else it is built."""
    binary = built_at(root)
    stamp = binary.parent / "built-from.txt"
    wanted = pins(root)
    if binary.exists() and stamp.exists() and stamp.read_text() == wanted:
        print(f"{binary} is built already: {version(binary)}")
        return
    found = shutil.which("llama-server", path=env.get("PATH"))
    if found and env.get("BUILD") != "1":
        print(f"llama-server on PATH is used: {found}, {version(Path(found))} (BUILD=1 builds one)")
        return
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="build-", dir=_roomy(binary.parent.parent)) as folder:
        built = _compiled(root, Path(folder), env.get("JOBS") or str(os.cpu_count() or 1))
        said = version(built)
        binary.parent.mkdir(parents=True, exist_ok=True)
        fresh = binary.with_name("llama-server.new")
        shutil.copy2(built, fresh)  # a running one must not be written over
        fresh.replace(binary)
    stamp.write_text(wanted)
    print(f"{binary} is built after {time.monotonic() - began:.0f} s: {said}")


def pins(root: Path) -> str:
    """What it is built from and how; another text means: build again."""
    options = "".join(f"-D{name}={value}\n" for name, value in OPTIONS.items())
    return "".join((root / "constraints" / name).read_text() for name in PINS) + options


def version(binary: Path) -> str:
    """What it says of itself. Raises BuildError when it does not run here."""
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{binary} can't be run ({error}); remove it and try again") from None
    lines = (done.stdout + done.stderr).splitlines()
    if done.returncode or not (said := [line for line in lines if line.startswith("version")]):
        raise BuildError(f"{binary} does not tell its version; remove it and try again")
    return said[0]


def _roomy(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder).free) < ROOM_BYTES:
        raise BuildError(
            f"{folder} has {free / 1e6:.0f} MB left, the build needs {ROOM_BYTES / 1e6:.0f} MB; "
            "free space there"
        )
    return folder


def _compiled(root: Path, folder: Path, jobs: str) -> Path:
    if not (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")):
        raise BuildError("no C++ compiler; install one with `apt-get install g++`")
    bin_ = _tools(root, folder)
    source = _source(root, folder, bin_)
    print(f"compiling llama-server, {jobs} files at a time (7 to 15 minutes on two cores)…")
    options = [f"-D{name}={value}" for name, value in OPTIONS.items()]
    ninja = f"-DCMAKE_MAKE_PROGRAM={bin_ / 'ninja'}"
    build = folder / "build"
    _run("cmake", [bin_ / "cmake", "-G", "Ninja", ninja, "-S", source, "-B", build, *options])
    _run("the compiler", [bin_ / "cmake", "--build", build, "--target", "llama-server", "-j", jobs])
    return build / "bin" / "llama-server"


def _tools(root: Path, folder: Path) -> Path:
    """cmake and ninja, in an environment of their own."""
    print("installing cmake and ninja…")
    venv.create(folder / "tools", with_pip=True)
    bin_ = folder / "tools" / "bin"
    _pip(bin_, "install", "-r", root / "constraints" / "llama-tools.txt")
    return bin_


def _source(root: Path, folder: Path, bin_: Path) -> Path:
    print("downloading the source (77 MB)…")
    which = ("--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes")
    # The package's backend is asked for its metadata; it must find cmake and ninja.
    _pip(bin_, "download", *which, "-d", folder, "-r", root / "constraints" / "llama.txt")
    [archive] = folder.glob("llama_cpp_python-*.tar.gz")
    with tarfile.open(archive) as tar:
        top = tar.next()
        prefix = f"{top.name.partition('/')[0]}/{INSIDE}" if top else INSIDE
        wanted = [member for member in tar.getmembers() if member.name.startswith(prefix)]
        tar.extractall(folder, wanted, filter="data")
    archive.unlink()
    return folder / prefix


def _pip(bin_: Path, command: str, *arguments: str | Path) -> None:
    quiet = ("--disable-pip-version-check", "-q")
    _run("pip", [bin_ / "python", "-m", "pip", *quiet, command, *arguments], bin_)


def _run(what: str, command: list[str | Path], first_on_path: Path | None = None) -> None:
    env = dict(os.environ)
    if first_on_path is not None:
        env["PATH"] = f"{first_on_path}{os.pathsep}{env.get('PATH', '')}"
    if subprocess.run(command, env=env, check=False).returncode:
        raise BuildError(f"{what} failed; its last lines above say why. Mend that and try again")


if __name__ == "__main__":
    sys.exit(main())
