"""Platforms to hurt. One is shared by the tests of a file that leave it well; others have their own."""

import platform as machine
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.platform import Platform
from tests.streaming.conftest import geo_folder

__all__ = ["geo_folder"]

# atheris has wheels for nothing else (see requirements.in); the fuzzing of test_fuzz.py is for every platform.
if (sys.platform, machine.machine()) != ("linux", "x86_64") or sys.version_info >= (3, 14):
    collect_ignore = ["test_fuzz_by_coverage.py"]


@pytest.fixture(scope="module")
def platform(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, geo_folder: Path
) -> Iterator[Platform]:
    """A platform that the tests of a file share, with the file's SETTINGS: each leaves it running and well."""
    settings = {"GEOIP_DATABASE": str(geo_folder), **getattr(request.module, "SETTINGS", {})}
    with Platform(tmp_path_factory.mktemp("platform") / "home", **settings) as running:
        yield running


@pytest.fixture
def start_platform(tmp_path: Path, geo_folder: Path) -> Iterator[Callable[..., Platform]]:
    """Start a platform of a test's own, with settings; it is stopped when the test ends."""
    with ExitStack() as running:

        def start(**settings: str) -> Platform:
            home = tmp_path / f"home-{len(list(tmp_path.iterdir()))}"
            return running.enter_context(Platform(home, **{"GEOIP_DATABASE": str(geo_folder), **settings}))

        yield start
