"""`./run bench`: the benchmarks of bench/, each a module with a `main`."""

import subprocess
import sys

import click

from streaming.settings import ROOT


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(name: str | None, arguments: tuple[str, ...]) -> None:
    """Run one benchmark with its own arguments, or all of them."""
    names = sorted(path.stem for path in (ROOT / "bench").glob("[!_]*.py"))
    if name is not None and name not in names:
        raise click.UsageError(f"no benchmark {name!r}; there are {', '.join(names)}")
    statuses = [
        subprocess.run([sys.executable, "-m", f"bench.{chosen}", *arguments], cwd=ROOT, check=False).returncode
        for chosen in ([name] if name else names)
    ]
    if any(statuses):
        sys.exit(1)
