"""`./run lock`: direct dependencies resolved into hashed locks, which name no host."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from commands.environments import LOCKS, UV
from streaming.settings import ROOT

PROJECT = ROOT / "requirements.in"


@click.command()
@click.option("--upgrade", is_flag=True, help="Take the newest versions instead of keeping the locked ones.")
@click.argument("environments", nargs=-1, metavar="[ENVIRONMENT]...")
def lock(upgrade: bool, environments: tuple[str, ...]) -> None:
    """Resolve requirements.in into requirements.lock; the next ./run installs it.

    With names, those of environments/ instead: ./run lock spark
    """
    for requirements in [LOCKS / f"{name}.in" for name in environments] or [PROJECT]:
        if not requirements.exists():
            raise click.UsageError(f"there is no {requirements.relative_to(ROOT)}")
        packages = _lock(requirements, upgrade)
        click.echo(f"{requirements.relative_to(ROOT).with_suffix('.lock')}: {packages} packages locked")


def _lock(requirements: Path, upgrade: bool) -> int:
    """Write the lock beside its requirements; returns how many packages it pins."""
    target = requirements.with_suffix(".lock")
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / target.name
        if target.exists():
            shutil.copy(target, draft)  # uv keeps the versions it finds there
        _resolve(requirements, draft, upgrade)
        text = draft.read_text()
    hosts = sorted(set(re.findall(r"\w+://[^\s/]+", text)))
    if hosts:
        raise click.ClickException(f"the lock would name {', '.join(hosts)}; {requirements.name} may hold names only")
    target.write_text(text)
    return len(re.findall("^[a-z0-9]", text, re.MULTILINE))


def _resolve(requirements: Path, draft: Path, upgrade: bool) -> None:
    command: list[str | Path] = [
        UV, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11",
        "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "./run lock",
        requirements.relative_to(ROOT), "--output-file", draft, *(["--upgrade"] if upgrade else []),
    ]  # fmt: skip
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(1)
