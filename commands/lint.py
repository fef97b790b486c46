"""`./run lint`: ruff and mypy, as the tests run them first; and the files that are written from the code."""

import subprocess
import sys

import click

from streaming.settings import ROOT

CHECKS = (("ruff", "check", ".", "run"), ("ruff", "format", "--check", ".", "run"), ("mypy",))


@click.command()
@click.option("--fix", is_flag=True, help="Mend and format what can be, write what is made of the code, then check.")
def lint(fix: bool) -> None:
    """Run linters and type checks; exit status 1 when one has something to say."""
    if fix:
        run_tool("ruff", "check", "--fix", "--quiet", ".", "run")
        run_tool("ruff", "format", "--quiet", ".", "run")
        run_tool("commands.generated.tables_page")
        run_tool("commands.generated.templates")
        run_tool("commands.generated.ingestion")
    if not passes_checks():
        sys.exit(1)


def passes_checks() -> bool:
    """Run every check, also after one has failed; whether all passed."""
    statuses = [run_tool(*check) for check in CHECKS]
    return not any(statuses)


def run_tool(*command: str) -> int:
    """Run a Python tool of the environment on the project; its exit status."""
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode
