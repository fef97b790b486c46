"""`./run status`: what runs in this home, how far the stream's consumers are behind, and what the ledger says."""

import json
import sys
from collections import Counter
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pyarrow.dataset
from rich.console import Console
from rich.table import Table

from streaming.domain.tables import EVENT_LEDGER
from streaming.edges.event_stream import EVENTS, HIGH_INTENT, StreamUnavailable
from streaming.edges.redis_stream import open_event_stream
from streaming.runtime.supervisor import running_processes, running_system
from streaming.settings import SettingError, Settings, load_home, load_settings

ADDRESSES = ("COLLECTOR_URL", "DAGSTER_URL", "REDIS_URL", "CACHE_REDIS_URL", "MYSQL_URL")
CONSUMERS = ((EVENTS, "delivery"), (EVENTS, "last_access"), (EVENTS, "high_intent"), (HIGH_INTENT, "delivery"))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def status(as_json: bool) -> None:
    """Show processes, addresses, backlog and ledger; status 0 when all of it is well, else 1.

    Well means that every process is ready, the stream answers, and no hour of the ledger is red.
    """
    home = load_home()
    try:
        report = describe(home, load_settings())
    except SettingError as error:
        click.echo(f"error: {error}; backlog and ledger are not shown", err=True)
        report = describe(home, None)
    if as_json:
        click.echo(json.dumps(report))
    else:
        _show(report)
    if not report["healthy"]:
        sys.exit(1)


def describe(home: Path, settings: Settings | None) -> dict[str, Any]:
    """The state of the platform: healthy, home, processes, addresses, backlog, ledger (hours by state).

    Without settings that can be used nobody can tell the backlog and the ledger: they are empty, and it is not healthy.
    """
    report = {"home": str(home), "ledger": _ledger_hours(settings) if settings else {}}
    system = running_system(home)
    if system is None:
        return {**report, "healthy": False, "processes": {}, "addresses": {}, "backlog": []}
    processes = {
        identity.name: {"pid": identity.pid, "state": _state(identity.process() is not None, identity.name, system)}
        for identity in running_processes(home)
    }
    try:
        backlog, stream_answers = (_backlog(settings), True) if settings else ([], False)
    except StreamUnavailable:
        backlog, stream_answers = [], False
    all_ready = all(process["state"] == "ready" for process in processes.values())
    return {
        **report,
        "healthy": stream_answers and all_ready and "red" not in report["ledger"],
        "processes": processes,
        "addresses": {
            name: without_password(system["environment"][name]) for name in ADDRESSES if name in system["environment"]
        },
        "backlog": backlog,
    }


def without_password(url: str) -> str:
    """A server's address, fit to be shown."""
    password = urlsplit(url).password
    return url if password is None else url.replace(f":{password}@", ":***@", 1)


def records_behind(settings: Settings) -> int:
    """Records that some consumer of a stream has not done with.

    Raises:
        StreamUnavailable: the stream does not answer.
    """
    return sum(row["records"] for row in _backlog(settings))


def accepted_records(settings: Settings) -> int:
    """Records the stream has ever taken in, as far as delivery has come: the ordinals of its checkpoints count them.

    Raises:
        StreamUnavailable: the stream does not answer.
    """
    with closing(open_event_stream(settings, EVENTS)) as stream:
        delivered = [checkpoint.sequence_number for checkpoint in stream.checkpoints().values()]
    return sum(int(sequence_number.rpartition("-")[2]) for sequence_number in delivered if sequence_number)


def _state(alive: bool, name: str, system: dict[str, Any]) -> str:
    if not alive:
        return "dead"
    return "ready" if name in system["ready"] else "starting"


def _backlog(settings: Settings) -> list[dict[str, Any]]:
    """What each consumer has before it in each shard."""
    rows = []
    for name, consumer in CONSUMERS:
        with closing(open_event_stream(settings, name)) as stream:
            rows += [
                {"stream": name, "consumer": consumer, "shard": shard, **backlog._asdict()}
                for shard, backlog in stream.backlog(consumer).items()
            ]
    return rows


def _ledger_hours(settings: Settings) -> dict[str, int]:
    """Arrival hours by the state of their ledger."""
    folder = settings.lake / EVENT_LEDGER.prefix
    if not folder.exists():
        return {}
    states = pyarrow.dataset.dataset(folder, format="parquet").to_table(columns=["state"])
    return dict(Counter(states["state"].to_pylist()))


def _show(report: dict[str, Any]) -> None:
    console = Console()
    if not report["processes"]:
        console.print(f"nothing runs in {report['home']}; ./run up starts it")
        return
    processes = Table("process", "pid", "state")
    for name, process in report["processes"].items():
        processes.add_row(name, str(process["pid"]), process["state"])
    addresses = Table("address", "")
    for name, address in report["addresses"].items():
        addresses.add_row(name, address)
    backlog = Table("stream", "consumer", "records behind, by shard", "oldest, s")
    for (stream, consumer), rows in groupby(report["backlog"], key=itemgetter("stream", "consumer")):
        shards = list(rows)
        oldest = max(shard["oldest_age_seconds"] for shard in shards)
        backlog.add_row(stream, consumer, "  ".join(str(shard["records"]) for shard in shards), f"{oldest:.1f}")
    ledger = Table("ledger", "hours")
    for state, hours in report["ledger"].items():
        ledger.add_row(state, str(hours))
    for table in (processes, addresses, backlog, ledger):
        console.print(table)
