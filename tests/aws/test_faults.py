"""Faults that must cost nothing, on AWS: the rows 12, 13 and 24 to 26 of the catalogue, over the whole graph."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from click.testing import CliRunner

from clickstream_assets.failed.job import replay_failed_events
from clickstream_assets.jobs import AGGREGATE
from clickstream_assets.partitions import range_tags
from commands.cli import cli
from streaming.domain.tables import ENRICHED_EVENTS, EVENT_LEDGER, FAILED_EVENTS, FLATTENED_EVENTS, Table
from streaming.edges.event_stream import StreamRecord
from streaming.runtime.lambda_host import Handler
from streaming.runtime.transform import Transform
from streaming.settings import ROOT
from tests.aws.conftest import BUCKET, Platform, deliver, handler_of, transform_by
from tests.aws.test_graph import flushes, traffic
from tests.aws_standins.redshift import RedshiftData
from tests.clickstream_assets.aggregates import BY_NAME

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

EVERYTHING = {"ops": {"replay_chosen_failures": {"config": {"everything": True, "dry_run": False}}}}
DATABASE = "clickstream"
DAY = "2026-11-20"
THE_DAY = range_tags(DAY, DAY)
MATERIALIZE = [sys.executable, "-m", "commands", "materialize"]


def one_day(events: int) -> list[StreamRecord]:
    """Traffic of which nothing is late: a day of tables to write."""
    return traffic(events + 1, late_every=events + 1)[1:]


def hanging(_event: Any, _context: Any) -> Any:
    time.sleep(1)


def crooked(answer: Handler) -> Handler:
    """The true answer backwards, without its first record, its second twice, and with one that nobody asked for."""

    def handler(event: dict[str, Any], context: Any) -> Mapping[str, Any]:
        missing, doubled, *rest = answer(event, context)["records"]
        return {"records": [*reversed(rest), doubled, doubled, {**missing, "recordId": "nobody's"}]}

    return handler


def verified() -> None:
    """Hold the tables to every promise, by identity."""
    told = CliRunner().invoke(cli, ["verify", "--json"])
    assert told.exit_code == 0, told.output
    assert {verdict["broken"] for verdict in json.loads(told.stdout)["promises"].values()} == {0}


def test_what_the_transform_failed_is_made_good_by_a_replay(aws_platform: Platform, transform: Transform) -> None:
    """12 and 13: it lies under the error prefix, the ledger balances, and a replay lands it."""
    records = [record for record in one_day(80) if b'"user_id": 7' not in record.data]
    transforms = [transform, transform_by(hanging, 0.2), transform_by(crooked(handler_of(aws_platform.settings)))]
    for batch, by in zip(flushes(records, 25), transforms, strict=False):
        deliver(batch, by, aws_platform.settings)
    aws_platform.catch_up()
    failed = Counter(aws_platform.rows(FAILED_EVENTS, "stage, type, state, error_code"))
    kept = ("enrichment", "processing_failed", "failed")
    missing, doubled = "Lambda.MissingRecordId", "Lambda.DuplicatedRecordId"
    assert failed == {(*kept, "Lambda.FunctionTimedOut"): 25, (*kept, missing): 1, (*kept, doubled): 1}

    aws_platform.run(replay_failed_events.name, run_config=EVERYTHING)
    aws_platform.catch_up()

    assert Counter(aws_platform.rows(FAILED_EVENTS, "state")) == {("replayed",): 27}
    assert len(aws_platform.rows(ENRICHED_EVENTS)) == len(aws_platform.rows(FLATTENED_EVENTS)) == 75
    assert {row[0] for row in aws_platform.rows(EVENT_LEDGER, "state")} == {"balanced"}
    verified()


def test_a_run_that_is_killed_is_completed_by_the_next(aws_platform: Platform, transform: Transform) -> None:
    """24: whatever it had published holds, and nothing else shows."""
    for batch in flushes(one_day(60), 25):
        deliver(batch, transform, aws_platform.settings)
    glue = boto3.client("glue")
    where = {"DatabaseName": DATABASE, "TableName": FLATTENED_EVENTS.name}
    with subprocess.Popen(MATERIALIZE, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        while not glue.get_partitions(**where)["Partitions"]:
            assert run.poll() is None, run.communicate()[0]
            time.sleep(0.02)
        run.send_signal(signal.SIGKILL)
    seen = aws_platform.rows(FLATTENED_EVENTS)
    assert seen

    aws_platform.catch_up()

    flattened = aws_platform.rows(FLATTENED_EVENTS)
    assert set(seen) <= set(flattened)
    assert len(flattened) == 58
    verified()


def test_two_runs_at_once_leave_one_state(aws_platform: Platform, transform: Transform) -> None:
    """25: both publish the same partitions; one of them stands, whole."""
    for batch in flushes(one_day(60), 25):
        deliver(batch, transform, aws_platform.settings)
    homes = [aws_platform.settings.home / name for name in ("one", "other")]
    runs = [
        subprocess.Popen(
            MATERIALIZE,
            cwd=ROOT,
            env=os.environ | {"CLICKSTREAM_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for home in homes
    ]
    told = [run.communicate(timeout=200)[0] for run in runs]

    assert [run.returncode for run in runs] == [0, 0], told
    assert len(aws_platform.rows(FLATTENED_EVENTS)) == 58
    verified()


def test_a_rerun_leaves_no_stale_part(
    aws_platform: Platform, transform: Transform, redshift_data: RedshiftData
) -> None:
    """26: a day is one file in a folder of its own; what came in parts takes nobody's place."""
    for batch in flushes(one_day(60), 25):
        deliver(batch, transform, aws_platform.settings)
    aws_platform.catch_up()
    sessions = BY_NAME["sessions"].table
    rows, first = aws_platform.rows(sessions), _objects_of_day(sessions)

    redshift_data.part_bytes = 40
    in_parts = aws_platform.run(AGGREGATE, tags=THE_DAY, raise_on_error=False)
    assert not in_parts.success
    assert (aws_platform.rows(sessions), _objects_of_day(sessions)) == (rows, first)

    redshift_data.part_bytes = 6_200_000_000
    assert aws_platform.run(AGGREGATE, tags=THE_DAY).success
    second = _objects_of_day(sessions)
    assert aws_platform.rows(sessions) == rows
    assert len(first) == len(second) == 1
    assert first != second
    verified()


def _objects_of_day(table: Table) -> list[str]:
    """The objects of the folder that readers of a day's partition are pointed to."""
    found = boto3.client("glue").get_partition(DatabaseName=DATABASE, TableName=table.name, PartitionValues=[DAY])
    prefix = found["Partition"]["StorageDescriptor"]["Location"].removeprefix(f"s3://{BUCKET}/")
    return [each["Key"] for each in boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]]
