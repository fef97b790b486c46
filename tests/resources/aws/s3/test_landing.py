"""Hours of arrival behind files of Firehose: every record is offered in its hour, once, wherever its file lies."""

import gzip
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pybase64
import pytest

from clickstream_assets.enriched.seal import seal
from clickstream_assets.failed.errors import collect_failures
from clickstream_assets.ledger.balance import is_unsealed
from resources.aws.s3 import listing as s3_listing
from resources.aws.s3.lake import S3Lake, open_s3_lake
from resources.aws.s3.landing import begun_of, span_of
from resources.aws.s3.listing import Object
from resources.lake import File
from resources.warehouse import DuckDBWarehouse, Source
from streaming.domain.envelope import stamp
from streaming.domain.layout import hour_of
from streaming.domain.tables import ENRICHED_EVENTS, ENRICHED_LANDING, RAW_EVENTS
from streaming.domain.timestamps import format_timestamp
from streaming.edges.parquet import arrow_schema, parquet_bytes
from streaming.jobs.raw import raw_records
from tests.aws_proxy import Answer, AwsProxy, Faults, Forward, Request
from tests.landing import event_text
from tests.s3_lakes import BUCKET, STACK, date_object, deliver, firehose_name, make_s3_lake

ELEVEN = datetime(2026, 11, 20, 11, tzinfo=UTC)
HOURS = [ELEVEN + timedelta(hours=step) for step in (-2, -1, 0, 1, 2)]
DELIVERED = timedelta(minutes=3)


@pytest.fixture
def lake(aws: str, tmp_path: Path) -> S3Lake:
    return make_s3_lake(tmp_path / "lake")


def at(hour: int, minute: int, second: float = 0) -> datetime:
    return ELEVEN.replace(hour=hour, minute=minute) + timedelta(seconds=second)


def identity(arrival: datetime) -> str:
    return f"{int(arrival.timestamp() * 1000):032x}"


def wire(arrival: datetime) -> bytes:
    """A record as the edge stamps it."""
    return stamp(event_text(arrival, "click"), identity(arrival), format_timestamp(arrival), None)


def rows(arrivals: Sequence[datetime]) -> bytes:
    columns = {
        "record_id": [identity(arrival) for arrival in arrivals],
        "arrival_timestamp": [arrival.replace(tzinfo=None) for arrival in arrivals],
    }
    schema = arrow_schema(ENRICHED_LANDING)
    missing = {field.name: [None] * len(arrivals) for field in schema if field.name not in columns}
    return parquet_bytes(pa.table(columns | missing, schema=schema))


def raw_of(files: Sequence[File]) -> list[datetime]:
    return sorted(record.arrival for batch in raw_records(files) for record in batch)


def enriched_of(files: Sequence[File]) -> list[datetime]:
    tables = [pq.read_table(file, partitioning=None) for file in files]
    return sorted(moment.replace(tzinfo=UTC) for table in tables for moment in table["arrival_timestamp"].to_pylist())


# When Firehose got the oldest record of a file, when it delivered the file, and the stamps of the records in it.
FILES = {
    "within": (at(11, 20), at(11, 25), [at(11, 20), at(11, 24)]),
    "into the next": (at(10, 58), at(11, 1), [at(10, 58), at(11, 0, 30)]),
    "at the boundary": (at(10, 59), at(11, 1), [at(10, 59, 59.999999), at(11, 0)]),
    "stamped before its folder": (at(11, 1), at(11, 3), [at(10, 59, 30), at(11, 1)]),
    "stamped a quarter before": (at(11, 14), at(11, 16), [at(10, 59, 1), at(11, 14)]),
    "stamped after its folder": (at(11, 50), at(11, 52), [at(11, 50), at(12, 0, 5)]),
    "stamped a quarter after": (at(11, 58), at(11, 59), [at(11, 58), at(12, 13)]),
    "stamped a day ahead by a quarter": (at(23, 46), at(23, 47), [at(23, 46), at(23, 46) + timedelta(minutes=15)]),
    "delivered late": (at(10, 58), at(13, 0), [at(10, 58), at(10, 59)]),
    "of hours that Firehose was behind": (at(8, 59), at(13, 2), [at(8, 59), at(10, 30), at(11, 0), at(13, 1)]),
    "in midnight's folder": (
        datetime(2026, 11, 19, 23, 59, tzinfo=UTC), at(0, 2), [datetime(2026, 11, 19, 23, 59, tzinfo=UTC), at(0, 1)]
    ),
}  # fmt: skip


@pytest.mark.parametrize(("begun", "delivered", "arrivals"), FILES.values(), ids=FILES)
def test_records_are_offered_in_the_hour_that_they_arrived_in(
    lake: S3Lake, begun: datetime, delivered: datetime, arrivals: list[datetime]
) -> None:
    deliver("raw", begun, delivered, gzip.compress(b"".join(map(wire, arrivals))), ending=".gz")
    deliver("enriched_landing", begun, delivered, rows(arrivals), ending=".parquet")

    hours = [hour_of(begun) + timedelta(hours=step) for step in range(-2, 6)]
    for lake_now in (lake, lake.snapshot()):
        for prefix, read in (("raw", raw_of), ("enriched_landing", enriched_of)):
            found = {hour: read(lake_now.list_hour(prefix, hour)) for hour in hours}
            expected = {hour: [each for each in arrivals if hour_of(each) == hour] for hour in hours}
            assert found == expected
            assert {hour_of(each) for each in arrivals} <= set(lake_now.landed_hours(prefix))


def test_a_file_within_its_hour_is_offered_nowhere_else(lake: S3Lake) -> None:
    deliver("raw", *FILES["within"][:2], gzip.compress(wire(at(11, 20))))
    assert [len(lake.list_hour("raw", hour)) for hour in HOURS] == [0, 0, 1, 0, 0]
    assert lake.landed_hours("raw") == [ELEVEN]
    assert [lake.changed_at(["raw"], hour) > 0 for hour in HOURS] == [False, False, True, False, False]


def test_what_comes_to_a_neighbour_changes_the_hour_that_it_may_hold(
    lake: S3Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_listing, "REMEMBERED_SECONDS", -1)
    before = lake.changed_at(["raw"], ELEVEN)
    deliver("raw", at(10, 58), at(11, 1), gzip.compress(wire(at(11, 0, 5))))
    between = lake.changed_at(["raw"], ELEVEN)
    deliver("raw", at(11, 0), at(11, 1), gzip.compress(wire(at(11, 0, 5))), number=2)
    assert len({before, between, lake.changed_at(["raw"], ELEVEN)}) == 3


def test_what_lambda_gave_up_is_of_its_own_hour_alone(lake: S3Lake) -> None:
    name = f"shardId-000000000000-{1:056}-{2:056}.json.gz"
    lake.publish(f"failed/last_access/year=2026/month=11/day=20/hour=11/{name}", gzip.compress(b""))
    assert [len(lake.list_hour("failed/last_access", hour)) for hour in HOURS] == [0, 0, 1, 0, 0]


def test_repairs_are_of_their_own_hour_alone(lake: S3Lake) -> None:
    lake.publish(f"enriched_landing/year=2026/month=11/day=20/hour=11/repair-{1:032x}.parquet", rows([at(11, 59)]))
    assert [len(lake.list_hour("enriched_landing", hour)) for hour in HOURS] == [0, 0, 1, 0, 0]
    assert lake.landed_hours("enriched_landing") == [ELEVEN]
    assert enriched_of(lake.list_hour("enriched_landing", ELEVEN)) == [at(11, 59)]


def test_both_the_runtime_s_files_and_firehose_s_are_read_by_the_warehouse(lake: S3Lake, tmp_path: Path) -> None:
    deliver("raw", at(10, 58), at(11, 1), b"".join(map(wire, [at(10, 58), at(11, 0)])))  # not compressed
    deliver("raw", at(11, 10), at(11, 11), gzip.compress(wire(at(11, 10))), number=2)
    deliver("enriched_landing", at(10, 58), at(11, 1), rows([at(10, 58), at(11, 0)]), ending=".parquet")
    warehouse = DuckDBWarehouse(200_000_000, tmp_path)
    sources = {
        "raw_events": Source(RAW_EVENTS, lake.list_hour("raw", ELEVEN)),
        "enriched_landing": Source(ENRICHED_LANDING, lake.list_hour("enriched_landing", ELEVEN)),
    }
    found = warehouse.select(
        "SELECT (SELECT COUNT(*) FROM raw_events) AS raw, (SELECT COUNT(*) FROM enriched_landing) AS rows", [], sources
    )
    assert found.to_pylist() == [{"raw": 2, "rows": 1}]


def test_raw_lines_that_no_edge_stamped_are_of_every_hour_that_their_file_reaches_into(
    lake: S3Lake, tmp_path: Path
) -> None:
    odd = [b"no JSON at all\n", b'{"event_name": "Search"}\n', b"\xff\xfe\n", b"[" * 5000 + b"\n", wire(at(9, 20))]
    deliver("raw", at(10, 58), at(11, 1), gzip.compress(b"".join([*odd, wire(at(11, 0))])))

    assert [raw_of(lake.list_hour("raw", hour)) for hour in HOURS] == [
        [], [at(10, 0)] * len(odd), [at(11, 0)] * (len(odd) + 1), [], []
    ]  # fmt: skip
    sources = {"raw_events": Source(RAW_EVENTS, lake.list_hour("raw", ELEVEN - timedelta(hours=1)))}
    found = DuckDBWarehouse(200_000_000, tmp_path).select("SELECT COUNT(*) AS lines FROM raw_events", [], sources)
    assert found.to_pylist() == [{"lines": len(odd)}]


def error(arrival: datetime, data: bytes, **changes: Any) -> bytes:
    line = {
        "attemptsMade": 4,
        "arrivalTimestamp": int(arrival.timestamp() * 1000),
        "errorCode": "Lambda.FunctionError",
        "errorMessage": "The Lambda function returned an error",
        "attemptEndingTimestamp": 0,
        "rawData": pybase64.b64encode_as_string(data),
        "lambdaArn": "arn:aws:lambda:us-east-1:1:function:f",
    }
    return json.dumps({name: value for name, value in (line | changes).items() if value is not None}).encode() + b"\n"


def test_error_files_of_firehose_go_by_stage_and_by_the_record_s_arrival(lake: S3Lake, tmp_path: Path) -> None:
    lines = [error(moment + timedelta(seconds=1), wire(moment)) for moment in (at(10, 59, 59.5), at(11, 0, 1))]
    deliver("failed/processing-failed", at(11, 40), at(11, 41), b"".join(lines))  # it failed till then

    assert lake.failed_prefixes() == ["failed/enrichment"]
    found = {}
    for hour in HOURS:
        files = collect_failures(hour, lake, tmp_path / f"{hour:%H}.parquet")
        for file in files:
            found[hour.hour] = pq.read_table(file, partitioning=None).select(["record_id", "stage"]).to_pylist()
    expected = {10: identity(at(10, 59, 59.5)), 11: identity(at(11, 0, 1))}
    assert found == {hour: [{"record_id": record_id, "stage": "enrichment"}] for hour, record_id in expected.items()}


def test_a_row_that_format_conversion_refused_keeps_the_record_s_identity(lake: S3Lake, tmp_path: Path) -> None:
    row = {"record_id": identity(at(11, 5)), "arrival_timestamp": "2026-11-20T11:05:00.000000", "latitude": "north"}
    refused = {"errorCode": None, "errorMessage": None, "lastErrorCode": "DataFormatConversion.ParseError"}
    line = error(at(11, 5), json.dumps(row).encode(), **refused, lastErrorMessage="not a double")
    deliver("failed/format-conversion-failed", at(11, 5), at(11, 7), line)

    (file,) = collect_failures(ELEVEN, lake, tmp_path / "failures.parquet")
    (failed,) = pq.read_table(file, partitioning=None).to_pylist()
    assert (failed["record_id"], failed["stage"]) == (row["record_id"], "delivery")
    assert failed["arrival_timestamp"] == at(11, 5).replace(tzinfo=None)
    assert failed["error_code"] == "DataFormatConversion.ParseError"


def test_timestamps_of_hive_are_read_too(lake: S3Lake, tmp_path: Path) -> None:
    arrivals = [at(10, 58), at(11, 0, 1)]
    table = pa.table({"record_id": [identity(each) for each in arrivals], "arrival_timestamp": arrivals})
    pq.write_table(table, tmp_path / "hive.parquet", use_deprecated_int96_timestamps=True)
    deliver("enriched_landing", at(10, 58), at(11, 1), (tmp_path / "hive.parquet").read_bytes(), ending=".parquet")
    for hour in HOURS:
        expected = [each for each in arrivals if hour_of(each) == hour]
        assert enriched_of(lake.list_hour("enriched_landing", hour)) == expected


def test_records_of_a_file_came_from_its_folder_s_hour_on_whatever_its_name_says() -> None:
    folder = "raw/year=2026/month=11/day=20/hour=11"
    delivered = int(at(12, 1).timestamp())
    for name in (firehose_name(at(11, 14, 3), ending=".gz"), firehose_name(at(12, 0, 3)), "anything.gz"):
        assert span_of(Object(f"{folder}/{name}", "", 1, delivered)) == (ELEVEN, at(12, 2))


def test_names_of_another_form_tell_no_moment() -> None:
    assert begun_of(firehose_name(at(11, 14, 3), ending=".gz")) == at(11, 14, 3)
    odd = ["a-1-2026-13-99-99-99-99-5a1e3f5c-0f0e-4a56-8b13-2b0f3a1d9c77", "a-1-2026-11-20-11-14-03-5a1e3f5c-", ""]
    assert [begun_of(name) for name in odd] == [None] * len(odd)


def test_a_file_named_after_another_hour_than_its_folder_s_goes_by_the_folder(lake: S3Lake) -> None:
    arrivals = [at(10, 55), at(11, 5)]
    key = f"raw/year=2026/month=11/day=20/hour=11/{firehose_name(at(12, 1))}.gz"
    lake.publish(key, gzip.compress(b"".join(map(wire, arrivals))))
    date_object(key, at(12, 2))
    assert [raw_of(lake.list_hour("raw", hour)) for hour in HOURS[1:4]] == [arrivals[:1], arrivals[1:], []]


def test_an_hour_that_has_not_begun_has_nothing_yet(lake: S3Lake) -> None:
    """Not even where a file may have rows of it, whose stamps run ahead."""
    now = datetime.now(UTC)
    deliver("raw", now, hour_of(now) + timedelta(minutes=59), gzip.compress(wire(now)))
    assert hour_of(now) + timedelta(hours=1) not in lake.landed_hours("raw")
    assert hour_of(now) in lake.landed_hours("raw")


def test_objects_of_one_second_are_told_apart_by_what_they_are(lake: S3Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_listing, "REMEMBERED_SECONDS", -1)
    second, dates = at(11, 25), set()
    for number, data in ((1, b"one"), (2, b"one"), (2, b"two"), (3, b"")):
        deliver("raw", at(11, 20), second, data, number=number)
        dates.add(lake.changed_at(["raw", "enriched_landing"], ELEVEN))
    assert len(dates) == 4
    assert {date // 1_000_000_000 for date in dates} == {int(second.timestamp())}


def test_years_are_remembered_by_what_they_come_to(lake: S3Lake, tmp_path: Path) -> None:
    deliver("raw", at(11, 58), at(12, 1), gzip.compress(wire(at(11, 58))))
    before = lake.changed_at(["raw"], ELEVEN)
    (arrived,) = (tmp_path / "lake" / "listings" / "raw").glob("2026-11-20.arrived.json")
    (listed,) = (tmp_path / "lake" / "listings" / "raw").glob("2026-11-20.json")
    assert arrived.stat().st_mtime == listed.stat().st_mtime  # they are forgotten together
    listed.write_bytes(b"not looked at")
    os.utime(listed, ns=(arrived.stat().st_mtime_ns, arrived.stat().st_mtime_ns))
    assert lake.snapshot().changed_at(["raw"], ELEVEN) == before
    assert lake.snapshot().landed_hours("raw") == [ELEVEN, ELEVEN + timedelta(hours=1)]


def test_an_hour_is_never_dated_by_objects_that_its_reader_does_not_see(lake: S3Lake, tmp_path: Path) -> None:
    """One process lists a day; a file comes; another lists it anew and says what it comes to; the first remembers."""
    deliver("raw", at(11, 20), at(11, 25), gzip.compress(wire(at(11, 20))))
    before = lake.changed_at(["raw"], ELEVEN)
    (listed,) = (tmp_path / "lake" / "listings" / "raw").glob("2026-11-20.json")
    earlier = listed.read_bytes()
    listed.unlink()
    deliver("raw", at(11, 30), at(11, 35), gzip.compress(wire(at(11, 30))), number=2)
    after = lake.changed_at(["raw"], ELEVEN)
    assert after != before

    listed.write_bytes(earlier)
    assert (lake.changed_at(["raw"], ELEVEN), len(lake.list_hour("raw", ELEVEN))) == (before, 1)
    listed.unlink()
    assert (lake.changed_at(["raw"], ELEVEN), len(lake.list_hour("raw", ELEVEN))) == (after, 2)


def test_a_listing_of_days_gone_by_is_remembered_and_what_is_published_shows(lake: S3Lake, tmp_path: Path) -> None:
    deliver("raw", at(11, 20), at(11, 25), gzip.compress(wire(at(11, 20))))
    assert lake.landed_hours("raw") == [ELEVEN]
    deliver("raw", at(11, 30), at(11, 35), gzip.compress(wire(at(11, 30))), number=2)
    assert len(lake.list_hour("raw", ELEVEN)) == 1  # of a day long ago, listed less than an hour ago

    lake.publish(f"raw/year=2026/month=11/day=20/hour=12/heal-{1:032x}.json.gz", gzip.compress(b""))
    assert (len(lake.list_hour("raw", ELEVEN)), len(lake.landed_hours("raw"))) == (2, 2)
    (memory,) = (tmp_path / "lake" / "listings" / "raw").glob("2026-11-20.json")
    memory.write_bytes(msgspec.json.encode("what another release wrote"))
    assert len(lake.list_hour("raw", ELEVEN)) == 2


@contextmanager
def other_process(
    aws: str, folder: Path, listed: str, meanwhile: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3Lake]:
    """The lake as another process of this machine has it; S3 answers its first listing of a folder, something happens,
    and then it has the answer."""

    def fault(request: Request, forward: Forward) -> Answer:
        answer = forward(request)
        meanwhile()
        return answer

    def concerns(request: Request) -> bool:
        return "list-type" in request.path and f"prefix={quote(listed, safe='')}" in request.path

    with AwsProxy(aws, Faults(fault, 1, concerns)) as proxy, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.address)
        yield open_s3_lake(BUCKET, STACK.database, folder, 1 << 30)


def healed(day: int) -> str:
    return f"enriched_landing/year=2026/month=11/day={day}/hour=11/heal-{1:032x}.parquet"


def test_what_is_published_while_another_process_lists_its_day_shows_at_once(
    lake: S3Lake, aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver("enriched_landing", at(11, 20), at(11, 25), rows([at(11, 20)]), ending=".parquet")
    listed = "enriched_landing/year=2026/month=11/day=20/"

    def heal() -> None:
        lake.publish(healed(20), rows([at(11, 21)]))

    with other_process(aws, tmp_path / "lake", listed, heal, monkeypatch) as other:
        assert len(other.list_hour("enriched_landing", ELEVEN)) == 2
    assert len(lake.list_hour("enriched_landing", ELEVEN)) == 2


@pytest.mark.parametrize("at_once", [False, True])
def test_a_day_that_begins_while_another_process_looks_for_days_shows_at_once(
    lake: S3Lake, aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    deliver("enriched_landing", at(11, 20), at(11, 25), rows([at(11, 20)]), ending=".parquet")
    listed = "enriched_landing/year=2026/month=11/"
    days = [ELEVEN - timedelta(days=1), ELEVEN]

    def heal() -> None:
        lake.publish(healed(19), rows([at(11, 21)]))

    with other_process(aws, tmp_path / "lake", listed, heal, monkeypatch) as other:
        assert (other.snapshot() if at_once else other).landed_hours("enriched_landing") == days
    assert lake.landed_hours("enriched_landing") == days


def test_who_has_seen_a_file_goes_on_seeing_it_whoever_lists_more_slowly(
    lake: S3Lake, aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an hour would be dated by a file that it is sealed without, and never be sealed again."""
    deliver("enriched_landing", at(11, 20), at(11, 25), rows([at(11, 20)]), ending=".parquet")
    listed = "enriched_landing/year=2026/month=11/day=20/"
    dates = []

    def come_and_be_seen() -> None:
        deliver("enriched_landing", at(11, 30), at(11, 35), rows([at(11, 30)]), number=2, ending=".parquet")
        dates.append(lake.changed_at(["enriched_landing"], ELEVEN))

    with other_process(aws, tmp_path / "lake", listed, come_and_be_seen, monkeypatch) as other:
        for each in (other, lake):
            assert len(each.list_hour("enriched_landing", ELEVEN)) == 2
            assert [each.changed_at(["enriched_landing"], ELEVEN)] == dates


def test_an_hour_is_sealed_from_the_files_that_it_is_dated_by(
    lake: S3Lake, aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    deliver("enriched_landing", now, now, rows([now]), ending=".parquet")
    hour, listed = hour_of(now), f"enriched_landing/{now:year=%Y/month=%m/day=%d}/"
    date = lake.changed_at(["raw", "enriched_landing"], hour)

    def come() -> None:
        deliver("enriched_landing", now, now, rows([now + timedelta(milliseconds=1)]), number=2, ending=".parquet")

    with other_process(aws, tmp_path / "lake", listed, come, monkeypatch) as other:
        sealed = seal(hour, other, DuckDBWarehouse(300_000_000, tmp_path / "duckdb"))
    assert (sealed, lake.as_of(ENRICHED_EVENTS, hour)) == (1, date)
    assert is_unsealed(hour, lake)


def test_what_came_today_shows_at_once(lake: S3Lake) -> None:
    now = datetime.now(UTC)
    for number in (1, 2):
        deliver("raw", now, now, gzip.compress(wire(now)), number=number)
        assert len(lake.list_hour("raw", hour_of(now))) == number
        assert hour_of(now) in lake.landed_hours("raw")
