"""`./run lock`: requirements.in resolved into the hashed lock, which names no host."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from streaming.settings import ROOT

LOCK = ROOT / "requirements.lock"


@click.command()
@click.option("--upgrade", is_flag=True, help="Take the newest versions instead of keeping the locked ones.")
def lock(upgrade: bool) -> None:
    """Resolve requirements.in into requirements.lock; the next ./run installs it."""
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / LOCK.name
        if LOCK.exists():
            shutil.copy(LOCK, draft)  # uv keeps the versions it finds there
        _resolve(draft, upgrade)
        text = draft.read_text()
    hosts = sorted(set(re.findall(r"\w+://[^\s/]+", text)))
    if hosts:
        raise click.ClickException(f"the lock would name {', '.join(hosts)}; requirements.in may hold names only")
    LOCK.write_text(text)
    click.echo(f"{len(re.findall('^[a-z0-9]', text, re.MULTILINE))} packages locked")


def _resolve(draft: Path, upgrade: bool) -> None:
    command: list[str | Path] = [
        Path(sys.executable).with_name("uv"), "pip", "compile", "--quiet", "--universal", "--python-version", "3.11",
        "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "./run lock",
        "requirements.in", "--output-file", draft, *(["--upgrade"] if upgrade else []),
    ]  # fmt: skip
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(1)
