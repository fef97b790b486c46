"""`./run materialize`: every table up to date with what has arrived, without waiting for a schedule."""

import json
import os

import click

from clickstream_assets.catch_up import RunsFailedError, catch_up
from commands.cli import say
from commands.environments import install_engines
from commands.platform import dagster_environment, running_settings


@click.command()
def materialize() -> None:
    """Materialize, now, everything that has arrived and is not up to date; the runs show in the Dagster UI.

    The last line is a JSON object: records `raw`, `enriched` and `failed`, and `balanced`, which is false where one is
    not accounted for; and rows, `flattened` and `aggregates` by name, but on AWS, where counting would fetch them.
    """
    settings = running_settings()
    install_engines(settings, say)
    os.environ |= dagster_environment(settings.home)
    try:
        tables = catch_up(settings, say)
    except RunsFailedError as error:
        raise click.ClickException(f"{error}; the Dagster UI has their logs") from None
    click.echo(json.dumps(tables))
