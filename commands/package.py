"""`./run package`: what runs on AWS, as zip files. The same input gives the same bytes, wherever and whenever.

One zip a Lambda, named by its role: our modules that its handler can reach, the files these read, and the packages
they import, from the hashes of requirements.lock, for Lambda's Python and system. boto3 is there already.
"""

import ast
import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import click
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.console import Console
from rich.table import Table

from commands.cli import say
from commands.environments import UV
from streaming.edges.geo.mmdb import MmdbGeo, UnusableDatabaseError
from streaming.runtime.supervisor import SupervisorError
from streaming.settings import ROOT

BUILD = ROOT / ".build"
LOCK = ROOT / "requirements.lock"
HANDLERS = "streaming.handlers"
JOBS = "streaming.jobs"
PYTHON = (3, 11)
PLATFORM = "x86_64-manylinux_2_28"  # the nearest name that takes duckdb's wheel, which needs no more than GLIBC
GLIBC = (2, 26)  # Amazon Linux 2, which Lambda's python3.11 runs on
IN_LAMBDA = "/var/task"
PROVIDED = {"boto3", "botocore"}
OURS = {"streaming"}

_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNUSED = re.compile(
    r"(^|/)(tests?|__pycache__|bin|include|[^/]*-stubs)/|\.(pyi|pyx|pxd|c|h|cpp|hpp)$|(^|/)py\.typed$"
    r"|^\.lock$"  # of uv, while it installs
    r"|^duckdb/experimental/|^adbc_driver_duckdb/"
    r"|\.dist-info/(?!METADATA$|licenses/|LICEN[CS]E|NOTICE|COPYING)"
)


class Zip(NamedTuple):
    """A zip file that was written; `sha256` of its bytes."""

    file: Path
    sha256: str


@dataclass
class Reach:
    """What can be reached from some modules: files of ours by path from the root, and packages of others by name."""

    files: set[PurePosixPath] = field(default_factory=set)
    imported: set[str] = field(default_factory=set)


@click.command()
@click.option("--to", "folder", type=click.Path(path_type=Path), default=BUILD, help="Where to. Default: .build")
@click.option("--geoip", type=click.Path(path_type=Path, exists=True), help="Make a layer of this mmdb file or folder.")
def package(folder: Path, geoip: Path | None) -> None:
    """Build the zips that ./run deploy uploads: one a Lambda, the Glue jobs' modules, and the repository's source."""
    table = Table("zip", "MB", "sha256")
    for built in build(folder, geoip):
        table.add_row(built.file.name, f"{built.file.stat().st_size / 1e6:.1f}", built.sha256[:16])
    Console().print(table)


def build(folder: Path = BUILD, geoip: Path | None = None) -> list[Zip]:
    """Build every zip into a folder.

    Raises:
        SupervisorError: a folder or mmdb file cannot be used, a package not be had for Lambda, or this is no checkout.
    """
    if geoip:
        _expect_geoip(geoip)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SupervisorError(f"{folder} cannot be made: {error.strerror}") from None
    if sys.version_info[:2] != PYTHON:
        say("this is not Python 3.11, which Lambda runs: the zips hold no compiled modules, and start more slowly")
    zips = [build_lambda(role, folder) for role in lambda_roles()]
    zips.append(write_zip(folder / "jobs.zip", _ours(reach(_modules(JOBS)).files)))
    zips.append(write_zip(folder / "source.zip", *_source()))
    if geoip:
        zips.append(write_zip(folder / "geoip.zip", _geoip_layer(geoip)))
    return zips


def lambda_roles() -> dict[str, str]:
    """The module of every Lambda, by its role: those of the handlers' package that have a `lambda_handler`."""
    return {
        module.rpartition(".")[2].replace("_", "-"): module
        for module in _modules(HANDLERS)
        if re.search(r"^def lambda_handler\(", (ROOT / _file_of(module)).read_text(), re.MULTILINE)
    }


def build_lambda(role: str, folder: Path) -> Zip:
    """Build the zip of one Lambda."""
    found = reach([lambda_roles()[role]])
    with tempfile.TemporaryDirectory(prefix="package-") as scratch:
        stage = Path(scratch)
        install(found.imported - PROVIDED, stage)
        for file, content in _ours(found.files).items():
            target = stage / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        _compile(stage)
        files = {path.relative_to(stage).as_posix(): path.read_bytes() for path in stage.rglob("*") if path.is_file()}
        _check_glibc(files)
        return write_zip(folder / f"{role}.zip", files)


def reach(modules: Iterable[str]) -> Reach:
    """Follow the imports of our modules, those within functions too, and the files they name as ROOT / "…"."""
    found, waiting = Reach(), list(modules)
    while waiting:
        module = waiting.pop()
        file = _file_of(module)
        if file in found.files:
            continue
        found.files.add(file)
        waiting += _parents(module)
        nodes = list(_runtime_nodes(ast.parse((ROOT / file).read_text())))
        names = {name for node in nodes for name in _imported(node)}
        waiting += filter(_is_ours, names)
        found.imported |= {name.partition(".")[0] for name in names} - OURS - sys.stdlib_module_names
        found.files |= _named_files(nodes)
    return found


def install(imported: Collection[str], stage: Path) -> None:
    """Put the packages that bring these modules there, with all they require, and take away what none needs.

    Versions and hashes are the lock's, extras are asked for as requirements.in does, and what a package requires is
    asked for Lambda's Python and system, not for those of this machine.

    Raises:
        SupervisorError: a package cannot be had for Lambda, or the lock does not have it.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write("\n".join(_pinned(imported)))
        requirements.flush()
        command: list[str | Path] = [
            UV, "pip", "install", "--quiet", "--target", stage, "--require-hashes", "--constraint", LOCK,
            "--only-binary", ":all:", "--link-mode", "copy",
            "--python-platform", PLATFORM, "--python-version", ".".join(map(str, PYTHON)),
            "--requirement", requirements.name,
        ]  # fmt: skip
        if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
            raise SupervisorError("the packages of requirements.lock could not be had for Lambda, see above")
    for path in stage.rglob("*"):
        if path.is_file() and _UNUSED.search(path.relative_to(stage).as_posix()):
            path.unlink()


def write_zip(target: Path, files: Mapping[str, bytes], executable: Collection[str] = ()) -> Zip:
    """Write files, by their path within, so that only their names and content make a difference."""
    draft = target.with_suffix(".tmp")
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, whose modes follow
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if name in executable else 0o100644) << 16
            archive.writestr(entry, files[name])
    draft.replace(target)
    return Zip(target, hashlib.sha256(target.read_bytes()).hexdigest())


def _modules(package: str) -> list[str]:
    folder = ROOT.joinpath(*package.split("."))
    return [f"{package}.{path.stem}" for path in sorted(folder.glob("[!_]*.py"))]


def _is_ours(name: str) -> bool:
    folder = ROOT.joinpath(*name.split("."))
    return folder.with_suffix(".py").is_file() or (folder / "__init__.py").is_file()


def _file_of(module: str) -> PurePosixPath:
    path = PurePosixPath(*module.split("."))
    return path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")


def _parents(module: str) -> list[str]:
    parent = module.rpartition(".")[0]
    return [parent] if parent and _is_ours(parent) else []


def _runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but what stands under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _runtime_nodes(node)


def _imported(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=str(origin), level=0, names=names):
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in names)


def _named_files(nodes: Iterable[ast.AST]) -> set[PurePosixPath]:
    """The files, and all files of the folders, that expressions such as ROOT / "sql" / "stream" name."""
    named = [(node, path) for node in nodes if isinstance(node, ast.BinOp) and (path := _path_below_root(node))]
    parts = [node.left for node, _ in named]
    places = [ROOT / path for node, path in named if node not in parts]
    files = (file for place in places for file in ([place] if place.is_file() else place.rglob("*")))
    return {PurePosixPath(file.relative_to(ROOT).as_posix()) for file in files if file.is_file()}


def _path_below_root(node: ast.expr) -> PurePosixPath | None:
    """What is written ROOT / "a" / "b"; None for any other expression."""
    match node:
        case ast.BinOp(left=ast.Name(id="ROOT"), op=ast.Div(), right=ast.Constant(value=str(part))):
            return PurePosixPath(part)
        case ast.BinOp(left=left, op=ast.Div(), right=ast.Constant(value=str(part))):
            above = _path_below_root(left)
            return above and above / part
    return None


def _ours(files: Iterable[PurePosixPath]) -> dict[str, bytes]:
    return {str(file): (ROOT / file).read_bytes() for file in files}


def _pinned(imported: Iterable[str]) -> list[str]:
    """What brings these modules, as requirements.in asks for it and the lock pins it: `redis[hiredis]==8.1.0`."""
    names = importlib.metadata.packages_distributions()
    asked = (line.partition("#")[0].strip() for line in (ROOT / "requirements.in").read_text().splitlines())
    extras = {canonicalize_name(direct.name): sorted(direct.extras) for direct in map(Requirement, filter(None, asked))}
    versions = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", LOCK.read_text(), re.MULTILINE))
    packages = sorted({canonicalize_name(names[module][0]) for module in imported})
    return [f"{package}[{','.join(extras.get(package, []))}]=={versions[package]}" for package in packages]


def _compile(stage: Path) -> None:
    """Compile the modules, for Lambda cannot keep what it compiles; only its own version of Python can."""
    if sys.version_info[:2] != PYTHON:
        return
    # What a process compiled before shows in the bytes, so it is a new one, that does all in order.
    command: list[str | Path] = [sys.executable, "-P", "-S", "-m", "compileall", "-q", "-s", stage, "-p", IN_LAMBDA]
    command += ["--invalidation-mode", "unchecked-hash", stage]
    environment = {"PATH": os.defpath, "PYTHONHASHSEED": "0"}
    if subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode:
        raise SupervisorError("a module of the zip does not compile, see above")


def _check_glibc(files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        if ".so" in PurePosixPath(name).suffixes:
            needed = max((tuple(map(int, v)) for v in re.findall(rb"GLIBC_(\d+)\.(\d+)", content)), default=GLIBC)
            if needed > GLIBC:
                raise SupervisorError(f"{name} needs glibc {needed[0]}.{needed[1]}; Lambda has {GLIBC[0]}.{GLIBC[1]}")


def _source() -> tuple[dict[str, bytes], set[str]]:
    """The repository's files as they are now, and which of them are programs."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--deduplicate"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        raise SupervisorError(f"source.zip holds what git lists, and this is no checkout: {listed.stderr.strip()}")
    names = [name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]
    return {name: (ROOT / name).read_bytes() for name in names}, {n for n in names if os.access(ROOT / n, os.X_OK)}


def _expect_geoip(path: Path) -> None:
    """Have it be what functions can find places in."""
    try:
        MmdbGeo(path)
    except UnusableDatabaseError as error:
        raise SupervisorError(f"--geoip cannot be used: {error}") from None


def _geoip_layer(path: Path) -> dict[str, bytes]:
    """A layer unpacks to /opt: GEOIP_DATABASE=/opt/geoip."""
    files = sorted(path.glob("*.mmdb")) if path.is_dir() else [path]
    return {f"geoip/{file.name}": file.read_bytes() for file in files}
