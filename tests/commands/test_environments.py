"""Environments of their own: installed on demand, once, from hashes."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from commands import environments
from commands.environments import LOCKS, ensure_environment
from streaming.runtime.supervisor import SupervisorError
from streaming.settings import ROOT

PACKAGE = "iniconfig"  # small, and installed already: uv has it


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lock of an environment `small`."""
    monkeypatch.setattr(environments, "LOCKS", tmp_path)
    monkeypatch.setattr(environments, "INSTALLED", tmp_path / "installed")
    stanza = re.search(rf"^{PACKAGE}==.*?(?=^\S)", (ROOT / "requirements.lock").read_text(), re.MULTILINE | re.DOTALL)
    assert stanza
    lock = tmp_path / "small.lock"
    lock.write_text(stanza.group())
    return lock


def test_it_is_installed_once_whoever_asks(lock: Path) -> None:
    said: list[str] = []
    with ThreadPoolExecutor() as threads:
        homes = list(threads.map(lambda _: ensure_environment("small", said.append), range(2)))
    assert said == ["installing the packages of environments/small.lock; a first time takes minutes"]
    assert homes == [lock.parent / "installed" / "small"] * 2
    assert imports_package(homes[0])


@pytest.mark.parametrize("installed", ["", "of another lock"])
def test_it_is_made_anew_after_an_interruption_or_another_lock(lock: Path, installed: str) -> None:
    stamp = ensure_environment("small", print) / "installed.sha256"
    (package,) = stamp.parent.glob(f"lib/*/site-packages/{PACKAGE}/__init__.py")
    package.unlink()
    stamp.write_text(installed)
    assert imports_package(ensure_environment("small", print))


def test_a_package_with_another_hash_is_not_installed(lock: Path) -> None:
    lock.write_text(re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", lock.read_text()))
    for _ in range(2):  # and the next time it is tried again
        with pytest.raises(SupervisorError, match=r"environments/small\.lock could not be installed"):
            ensure_environment("small", print)


@pytest.mark.parametrize("requirements", sorted(LOCKS.glob("*.in")), ids=lambda path: path.stem)
def test_locks_hold_hashes_and_no_host(requirements: Path) -> None:
    locked = requirements.with_suffix(".lock").read_text()
    names = re.findall(r"^[a-z0-9-]+", requirements.read_text(), re.MULTILINE)
    assert all(re.search(rf"^{name}==\S+ \\\n    --hash=sha256:", locked, re.MULTILINE) for name in names)
    assert "://" not in locked


def imports_package(home: Path) -> bool:
    python = home / "bin" / "python"
    assert Path(sys.executable) != python
    return subprocess.run([python, "-c", f"import {PACKAGE}"], check=False).returncode == 0
