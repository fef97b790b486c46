"""`./run test`: everything that must pass before a change is taken in."""

import sys

import click

from commands.browser import ensure_chromium
from commands.cli import say
from commands.environments import ensure_environment
from commands.lint import passes_checks, run_tool
from streaming.runtime.servers import ensure_mariadb


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--fast", is_flag=True, help="Leave out tests marked slow or browser.")
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def test(fast: bool, pytest_arguments: tuple[str, ...]) -> None:
    """Run linters, type checks and tests, setting up all they need.

    Arguments go to pytest; with any, only pytest runs: ./run test tests/streaming/domain -k price
    """
    linted = True if pytest_arguments else passes_checks()
    ensure_mariadb(say)
    if not fast and not pytest_arguments:
        ensure_chromium(say)
        for name in ("ministack", "sam", "spark"):
            ensure_environment(name, say)
    selection = ["-m", "not slow and not browser"] if fast else []
    # In the files' order, long ones of a few tests do not come last, when other processes have nothing left to do.
    spread = ["-n", "auto", "--maxprocesses", "4", "--dist", "loadfile", "--no-loadscope-reorder"]
    parallel = [] if pytest_arguments else spread
    tested = run_tool("pytest", *selection, *parallel, *pytest_arguments) == 0
    if not (linted and tested):
        sys.exit(1)
