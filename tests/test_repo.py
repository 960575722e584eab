"""What is tracked is fit for a stranger's clone: no package hosts, no paths of a machine, no lumps."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST_BYTES = 5 * 1_048_576
HOSTS = re.compile(
    r"--(?:extra-)?index-url|--find-links|files\.pythonhosted|(?:test\.)?pypi\.(?:org|python)"
    r"|artifactory|nexus\d*\.|download\.pytorch",
    re.IGNORECASE,
)
MACHINE = re.compile(r"(?<![\w.}/])/(?:home|root|work|Users|mnt|opt|srv)/[\w.-]+")
"""A path of somebody's box. /tmp, /proc and /dev are everybody's."""
TEXT = {".py", ".md", ".toml", ".txt", ".conf", ".cfg", ".json", ".svg", ".sh", ".example", ""}


def tracked() -> list[Path]:
    """Files git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = {ROOT / name for name in listed.stdout.decode().split("\0") if name}
    return sorted(path for path in paths if path.is_file())


def texts() -> dict[str, str]:
    """Every text file but this one."""
    return {
        str(path.relative_to(ROOT)): path.read_text()
        for path in tracked()
        if path.suffix in TEXT and path != Path(__file__).resolve()
    }


def test_no_package_host_is_named() -> None:
    found = {file: match[0] for file, text in texts().items() if (match := HOSTS.search(text))}
    assert found == {}


def test_no_path_of_a_machine_is_named() -> None:
    found = {file: match[0] for file, text in texts().items() if (match := MACHINE.search(text))}
    assert found == {}


def test_no_file_is_a_lump() -> None:
    assert [str(path) for path in tracked() if path.stat().st_size > MOST_BYTES] == []


def test_every_module_says_what_it_is() -> None:
    """A docstring of its own, and annotations that cost nothing at run time."""
    for path in tracked():
        if path.suffix == ".py" and path.stat().st_size:
            text = path.read_text()
            assert text.lstrip().startswith(('"""', "r'''", 'r"""', "#!")), path
            if path.name != "__init__.py":
                assert "from __future__ import annotations" in text, path
