"""The whole graph on AWS, over files as Firehose lands them, equal to the local deployment's, row by row."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from click.testing import CliRunner

from clickstream_assets import pending
from clickstream_assets.catalog import CATALOGUED
from clickstream_assets.catch_up import accounted
from clickstream_assets.jobs import AGGREGATE, BUILD_DASHBOARD, FLATTEN, REBUILD_CACHE, REFRESH_CATALOG, REPORT, SETTLE
from commands.cli import cli
from streaming.domain.envelope import stamp
from streaming.domain.tables import EVENT_LEDGER, LANDING, LATEST_SEARCH_BY_USER
from streaming.domain.timestamps import format_timestamp
from streaming.edges.event_stream import StreamRecord
from streaming.runtime.transform import Transform
from tests.aws.conftest import Platform, deliver
from tests.aws.crawlers import FinishingCrawlers
from tests.landing import event_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

BEGIN = datetime(2026, 11, 20, 9, 40, tzinfo=UTC)
ACTIONS = ("Search", "ViewContent", "AddToCart", "Purchase")
PUBLISHED = [table for table in CATALOGUED if table not in LANDING]


def record(number: int, data: bytes, arrival: datetime) -> StreamRecord:
    """A record as Kinesis took it, a moment after the edge had stamped it."""
    identity = sha256(f"{number} {arrival}".encode() + data).hexdigest()[:32]
    wire = stamp(data, identity, format_timestamp(arrival), None)
    taken = arrival + timedelta(milliseconds=30)
    return StreamRecord(f"{taken.timestamp() * 1000:.0f}-{number:019}", taken, "20", wire)


def traffic(events: int, late_every: int = 17) -> list[StreamRecord]:
    """Two hours and a half of it: good, bad, late, and of users known and unknown, places found and not."""
    records = []
    for number in range(events):
        arrival = BEGIN + timedelta(seconds=9_000 * number / events)
        late = timedelta(days=2, hours=3) if number % late_every == 0 else timedelta(seconds=number % 50)
        changes = {
            "user_id": str(1 + number % 23),
            "event_name": ACTIONS[number % 4],
            "user_ip": ("169.235.214.44", "23.40.0.1", "8.8.8.8", "192.168.0.1")[number % 4],
            "pixel_id": f"pixel{number % 3}",
        }
        bad = {"user_id": 7} if number % 29 == 0 else {}
        records.append(record(number, event_text(arrival - late, f"click-{number}", **changes | bad), arrival))
    return records


def flushes(records: Sequence[StreamRecord], size: int) -> list[Sequence[StreamRecord]]:
    """What a delivery buffers together; it does not look at hours."""
    return [records[first : first + size] for first in range(0, len(records), size)]


def differing(one: Platform, other: Platform) -> dict[str, tuple[int, int]]:
    """The tables that hold other rows, and how many each has.

    On AWS an hour that a file may reach into has a ledger, too, which says that nothing came.
    """
    some = {EVENT_LEDGER: "raw_records > 0"}
    compared = {
        table.name: [each.rows(table, where=some.get(table, "true")) for each in (one, other)] for table in PUBLISHED
    }
    return {name: (len(first), len(second)) for name, (first, second) in compared.items() if first != second}


def test_every_table_equals_the_local_deployments(
    aws_platform: Platform, local_platform: Platform, transform: Transform, crawlers: FinishingCrawlers
) -> None:
    records = traffic(400)
    for batch in [*flushes(records, 37), records[200:230]]:  # some twice, across an hour's boundary
        deliver(batch, transform, aws_platform.settings, local_platform.settings)

    everywhere = [SETTLE, FLATTEN, AGGREGATE, AGGREGATE, BUILD_DASHBOARD, REPORT, REFRESH_CATALOG]
    for platform in (local_platform, aws_platform):
        platform.run(REBUILD_CACHE)
        assert set(platform.catch_up()) == set(everywhere)

    assert differing(local_platform, aws_platform) == {}
    assert len(aws_platform.rows(LATEST_SEARCH_BY_USER)) == 23
    assert crawlers.crawls == ["clickstream-raw", "clickstream-landing"]
    with aws_platform.edges() as edges:
        assert accounted(edges.lake) == {"raw": 400, "enriched": 386, "failed": 14, "balanced": True}
    status = CliRunner().invoke(cli, ["status", "--json"])
    assert status.exit_code == 0, status.output
    told = json.loads(status.stdout)
    assert (told["hours"], told["red"]) == ({"balanced": 5}, [])
    assert (told["to_settle"], told["to_flatten"], told["to_aggregate"]) == (0, 0, 0)
    assert datetime.fromisoformat(told["delivered_up_to"]) > datetime.now(UTC) - timedelta(hours=1)
    verified = CliRunner().invoke(cli, ["verify", "--json"])
    assert verified.exit_code == 0, verified.output
    assert {verdict["broken"] for verdict in json.loads(verified.stdout)["promises"].values()} == {0}
    assert left_to_do(aws_platform) == []
    assert sorted(aws_platform.catch_up()) == sorted([REPORT, REFRESH_CATALOG])  # these follow more than the lake


def left_to_do(platform: Platform) -> list[object]:
    """What sensors and schedules would ask for."""
    with platform.edges() as edges:
        arrived = pending.arrival_hours(edges.lake, edges.delivery.progress())
        return [*arrived.closed, *arrived.open, *pending.event_hours(edges.lake), *pending.days(edges.lake)]
