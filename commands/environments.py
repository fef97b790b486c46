"""Environments of their own for tools that few need or that would not fit beside ours: `environments/<name>.lock`.

Each is installed on demand into `.environments/<name>`, from hashes, the tools that build its packages too.
"""

import fcntl
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from streaming.runtime.supervisor import SupervisorError
from streaming.settings import ROOT, Settings

LOCKS = ROOT / "environments"
INSTALLED = ROOT / ".environments"
UV = Path(sys.executable).with_name("uv")


def ensure_environment(name: str, say: Callable[[str], None]) -> Path:
    """The folder of an environment, made anew first unless it holds what its lock says for this Python.

    Raises:
        SupervisorError: it cannot be installed; uv has said why.
    """
    lock, home = LOCKS / f"{name}.lock", INSTALLED / name
    stamp = home / "installed.sha256"  # written last: an interrupted installation leaves none
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    with lock.open() as held:  # who wants it too waits here, then finds it done
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != digest:
            say(f"installing the packages of environments/{name}.lock; a first time takes minutes")
            _install(lock, home)
            stamp.write_text(digest)
    return home


def install_engines(settings: Settings, say: Callable[[str], None]) -> None:
    """Install Spark on this machine where a table is to be written by it here.

    Raises:
        SupervisorError: it cannot be installed.
    """
    if settings.deployment == "local" and "spark" in settings.engines.values():
        ensure_environment("spark", say)


def _install(lock: Path, home: Path) -> None:
    make: list[str | Path] = [UV, "venv", "--quiet", "--clear", "--python", sys.executable, home]
    sync: list[str | Path] = [
        UV, "pip", "sync", "--python", home / "bin" / "python", "--require-hashes", "--build-constraints", lock, lock,
    ]  # fmt: skip
    if any(subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode for command in (make, sync)):
        raise SupervisorError(f"the packages of environments/{lock.name} could not be installed, see above")
