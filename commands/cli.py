"""The command line `./run`: one module of this package a command, imported only when that command is used."""

import sys
from difflib import get_close_matches
from importlib import import_module

import click

from commands.aws.errors import advice
from streaming.runtime.supervisor import SupervisorError
from streaming.settings import SettingError

COMMANDS = {
    "demo": "Run everything on synthetic traffic and open the tables in the Dagster UI.",
    "up": "Start the platform and keep it running.",
    "down": "Stop the platform that runs in this home.",
    "status": "Show alerts, ingest, backlog, delivery, ledger and processes.",
    "send": "Send synthetic traffic to the collector.",
    "materialize": "Bring every table up to date, now.",
    "verify": "Check that nothing was lost, doubled or made up.",
    "replay": "Replay failed events that would pass now.",
    "customers": "List customers, and add one as a sign-up does.",
    "dashboard": "Write the dashboard to one file, from the tables as they are.",
    "query": "Run SQL on the catalog's tables.",
    "soak": "Run traffic under random faults and account for every event.",
    "test": "Run linters, type checks and tests.",
    "lint": "Run linters and type checks.",
    "bench": "Measure speed and memory.",
    "package": "Build the zips that run on AWS.",
    "deploy": "Deploy the platform on AWS.",
    "destroy": "Take a deployment off AWS, and keep its data.",
    "cost": "Estimate what a deployment on AWS costs.",
    "lock": "Resolve direct dependencies into hashed locks.",
}


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"commands.{cmd_name}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command where there is none of this name."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            nearest = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise click.UsageError(f"{error.message}{hint}", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """A clickstream platform: events in over HTTP, tables out, every accepted event accounted for.

    Start with `./run demo`. Data and logs live under .clickstream/ (CLICKSTREAM_HOME).
    """


def say(text: str) -> None:
    """Tell the person who waits; standard output is for results."""
    click.echo(text, err=True)


def main() -> None:
    """Run the command line; an error that a person can act on is one line and exit status 1."""
    try:
        cli(prog_name="./run")
    except (SettingError, SupervisorError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except Exception as error:
        if (told := advice(error)) is None:
            raise
        click.echo(f"error: {told}", err=True)
        sys.exit(1)
