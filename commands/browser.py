"""Chromium, which the tests of the Dagster UI drive."""

import shutil
from collections.abc import Callable
from pathlib import Path

from streaming.runtime.servers import install_packages
from streaming.runtime.supervisor import SupervisorError

NAMES = ("chromium", "chromium-browser", "google-chrome")


def ensure_chromium(say: Callable[[str], None]) -> Path:
    """The browser, installed first when it is missing and this is root on Debian.

    Raises:
        SupervisorError: it is missing and cannot be installed; the message says what to install.
    """
    found = _find()
    if found is None:
        advice = "install Chromium (Debian: apt-get install chromium), or leave its tests out with --fast"
        install_packages(["chromium"], advice, say)
        found = _find()
    if found is None:
        raise SupervisorError("apt-get installed chromium, but its program is not on the PATH")
    return found


def _find() -> Path | None:
    return next((Path(found) for name in NAMES if (found := shutil.which(name))), None)
