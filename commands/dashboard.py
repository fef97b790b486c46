"""`./run dashboard`: the dashboard in one file, to send or to keep."""

import webbrowser
from pathlib import Path

import click
import duckdb

from clickstream_assets.dashboard.data import NoDataError, opened
from clickstream_assets.dashboard.web_page import render
from clickstream_assets.definitions import opened_edges
from commands.platform import table_settings


@click.command()
@click.option(
    "--output",
    default="dashboard.html",
    show_default=True,
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write to this file.",
)
@click.option("--open", "show", is_flag=True, help="Open it in a browser.")
def dashboard(output: Path, show: bool) -> None:
    """Write the dashboard to one web page that needs no network, from the tables as they are.

    It works while nothing runs. Where the platform runs, DASHBOARD_URL serves the same page and keeps it up to date.
    """
    if not output.parent.is_dir():
        raise click.UsageError(f"--output: there is no folder {output.parent}")
    settings = table_settings()
    try:
        if settings.deployment == "local" and not settings.lake.is_dir():
            raise NoDataError
        with (
            opened_edges(settings, "lake") as edges,
            opened(edges.lake, settings.memory_limit_bytes) as connection,
        ):
            page = render(connection)
    except NoDataError:
        place = settings.lake_bucket if settings.deployment == "aws" else settings.lake
        raise click.ClickException(
            f"there are no events in the tables of {place} yet; ./run demo makes some, and ./run materialize "
            "brings the tables up to date"
        ) from None
    except duckdb.Error as error:
        raise click.ClickException(
            f"{str(error).splitlines()[0]}; where another release wrote the tables, ./run materialize writes them anew"
        ) from None
    output.write_bytes(page)
    click.echo(output)
    if show:
        webbrowser.open(output.resolve().as_uri())
