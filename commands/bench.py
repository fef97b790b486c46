"""`./run bench`: the benchmarks of bench/, each a module with a `main`."""

import ast
import subprocess
import sys
from pathlib import Path

import click

from streaming.settings import ROOT


class ListingCommand(click.Command):
    """A command whose help lists the benchmarks there are."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Benchmarks"):
            formatter.write_dl([(name, _first_line(module)) for name, module in _benchmarks().items()])


# Options after a name are that benchmark's own, --help too.
@click.command(cls=ListingCommand, context_settings={"allow_interspersed_args": False})
@click.argument("name", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(name: str | None, arguments: tuple[str, ...]) -> None:
    """Run one benchmark with its own arguments, or all of them; `./run bench NAME --help` shows its options."""
    names = list(_benchmarks())
    if name is not None and name not in names:
        raise click.UsageError(f"no benchmark {name!r}; there are {', '.join(names)}")
    statuses = [_run(chosen, arguments) for chosen in ([name] if name else names)]
    if any(statuses):
        sys.exit(1)


def _run(name: str, arguments: tuple[str, ...]) -> int:
    script = f"from bench.{name} import main; main(prog_name='./run bench {name}')"
    return subprocess.run([sys.executable, "-c", script, *arguments], cwd=ROOT, check=False).returncode


def _benchmarks() -> dict[str, Path]:
    return {path.stem: path for path in sorted((ROOT / "bench").glob("[!_]*.py"))}


def _first_line(module: Path) -> str:
    """What a benchmark says of itself, without importing it."""
    return (ast.get_docstring(ast.parse(module.read_text())) or "").partition("\n")[0]
