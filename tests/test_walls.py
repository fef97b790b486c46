"""The import walls of docs/architecture.md: who may import whom, and what an import may do."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streaming.settings import ROOT

# Each package, and the packages of ours it must not import.
FORBIDDEN = {
    "streaming": ("resources", "clickstream_assets", "commands"),
    "streaming/domain": (
        "streaming.edges",
        "streaming.handlers",
        "streaming.jobs",
        "streaming.runtime",
        "streaming.settings",
    ),
    "streaming/edges": ("streaming.handlers", "streaming.jobs", "streaming.runtime"),
    "streaming/handlers": ("streaming.jobs", "streaming.runtime"),
    "streaming/jobs": ("streaming.runtime",),
    "resources": ("clickstream_assets", "commands", "streaming.runtime"),
    "clickstream_assets": ("commands",),
}
IO_MODULES = ("socket", "subprocess", "threading", "urllib.request", "redis", "pymysql", "httpx", "boto3")


@pytest.mark.parametrize(("package", "forbidden"), FORBIDDEN.items(), ids=FORBIDDEN)
def test_imports_point_one_way(package: str, forbidden: tuple[str, ...]) -> None:
    for module in (ROOT / package).rglob("*.py"):
        crossing = [name for name in _imports(module) if _is_within(name, forbidden)]
        assert not crossing, f"{module.relative_to(ROOT)} imports {crossing}"


def test_the_domain_does_no_io() -> None:
    for module in (ROOT / "streaming" / "domain").rglob("*.py"):
        found = [name for name in _imports(module) if _is_within(name, IO_MODULES)]
        assert not found, f"{module.relative_to(ROOT)} imports {found}"


def test_engines_of_one_machine_know_none_of_aws() -> None:
    for module in (ROOT / "resources").glob("*.py"):
        crossing = [name for name in _imports(module) if _is_within(name, ("resources.aws",))]
        assert not crossing, f"{module.relative_to(ROOT)} imports {crossing}"


@pytest.mark.parametrize("handler", sorted(path.stem for path in (ROOT / "streaming/handlers").glob("[!_]*.py")))
def test_a_lambda_needs_nothing_of_the_warehouse(handler: str) -> None:
    loaded = _python(f"import sys, streaming.handlers.{handler}; print(*sys.modules)").split()
    assert not set(loaded) & {"dagster", "pandas", "pyarrow"}


def test_no_import_needs_settings_or_the_network() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("streaming", "resources", "clickstream_assets", "commands")
        for path in (ROOT / package).rglob("*.py")
        if not path.stem.startswith("__")
    ]
    script = f"""
import importlib, os, socket
def refuse(*_, **__):
    raise AssertionError("a connection at import")
socket.socket.connect = socket.create_connection = refuse
for module in {modules!r}:
    importlib.import_module(module)
"""
    _python(script, REDIS_URL="redis://nowhere", MYSQL_URL="nonsense", CLICKSTREAM_SHARDS="none")


def _imports(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(origin), level=0, names=names):
                yield origin
                yield from (f"{origin}.{alias.name}" for alias in names)


def _is_within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _python(script: str, **environment: str) -> str:
    command = [sys.executable, "-c", script]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
