"""Stamps on the records of a stream that Firehose delivers: whatever they say, a record has one identity in one hour.

The enrichment judges a stamp by when Kinesis took the record, which the raw copy does not tell.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from clickstream_assets.enriched.seal import seal_hour
from clickstream_assets.failed.collect import publish_failed_events
from clickstream_assets.ledger.balance import Balance, publish_balance
from resources.aws.firehose import FirehoseProgress
from resources.aws.s3 import lake as s3_lake
from resources.aws.s3 import listing as s3_listing
from resources.aws.s3.lake import S3Lake
from resources.warehouse import DuckDBWarehouse
from streaming.domain.envelope import stamp
from streaming.domain.timestamps import format_timestamp
from streaming.edges.event_stream import StreamRecord
from streaming.edges.geo.places import MissingPlace
from streaming.edges.look_ups import Finder, Found, MissingName
from streaming.handlers.enrichment import enrich
from streaming.jobs.raw import raw_records
from streaming.runtime.lambda_host import LambdaHost
from streaming.runtime.transform import Transform
from tests.aws.firehose import Firehose
from tests.landing import event_text
from tests.s3_lakes import BUCKET, keys, make_s3_lake

ELEVEN = datetime(2026, 11, 20, 11, tzinfo=UTC)
NEXT_DECADE = datetime(2030, 1, 1, tzinfo=UTC)
IDENTITY = f"{7:032x}"


@pytest.fixture
def lake(aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Lake:
    monkeypatch.setattr(s3_listing, "REMEMBERED_SECONDS", -1)
    return make_s3_lake(tmp_path / "lake")


class NothingKnown:
    """Look-ups that know nobody and no place."""

    unrepeatable_build = None

    def find(self, user_ids: Collection[str], ips: Collection[str]) -> Found:
        names = dict.fromkeys(user_ids, MissingName.UNKNOWN_USER)
        return Found(dict(names), dict.fromkeys(ips, MissingPlace.NOT_FOUND), "1/none/none")

    def live(self) -> Finder:
        return self

    def snapshot(self) -> "NothingKnown":
        return self


NOBODY = NothingKnown()


def at(text: str) -> datetime:
    """A moment of that day, such as 11:50:05."""
    return datetime.fromisoformat(f"2026-11-20T{text}+00:00")


def taken(arrival: datetime, data: bytes) -> StreamRecord:
    return StreamRecord(f"{int(arrival.timestamp())}", arrival, "20", data)


def stamped(arrival: datetime, said: datetime, event: bytes | None = None, record_id: str = IDENTITY) -> StreamRecord:
    """A record that Kinesis took at a moment, and whose stamp says another."""
    text = event_text(min(arrival, said), "click") if event is None else event
    return taken(arrival, stamp(text, record_id, format_timestamp(said), None))


def good(arrival: datetime, number: int) -> StreamRecord:
    return stamped(arrival, arrival, record_id=f"{number:032x}")


def deliver(*records: StreamRecord, behind: timedelta = timedelta(0)) -> list[str]:
    """One flush of Firehose; returns the keys of what it wrote."""
    host = LambdaHost("enrichment", lambda event, _: {"records": enrich(event["records"], NOBODY)}, 10)
    return Firehose(BUCKET, Transform(host, "clickstream-events", 1_000_000)).deliver(records, behind)


def settle(lake: S3Lake, folder: Path) -> dict[int, Balance]:
    """Seal and balance every hour; the ledger of those that have records, by the hour of the day."""
    warehouse = DuckDBWarehouse(200_000_000, folder)
    balances = {}
    for hour in lake.landed_hours("raw"):
        seal_hour(hour, lake, warehouse, NOBODY, from_raw=None)
        publish_failed_events(hour, lake, warehouse)
        balances[hour.hour] = publish_balance(hour, lake, warehouse, FirehoseProgress(ELEVEN + timedelta(days=1)))
    return {hour: balance for hour, balance in balances.items() if balance.raw_records or balance.unknown_records}


class Case(NamedTuple):
    """Records of one flush, the one of IDENTITY among them: the hour that it belongs to, and whether it fails.

    `behind`: how much later than Kinesis Firehose got them.
    """

    records: Sequence[StreamRecord]
    hour: int
    fails: bool
    behind: timedelta = timedelta(0)


def odd_envelope(arrival: datetime, event_and_more: bytes) -> StreamRecord:
    head = stamp(b"", IDENTITY, format_timestamp(arrival), None).removesuffix(b"}\n")
    return taken(arrival, head + event_and_more + b"}\n")


CASES = {
    "ahead, into the next hour": Case([good(at("11:50"), 1), stamped(at("11:50:05"), at("12:00:05"))], 12, False),
    "behind, from the hour before": Case([good(at("11:10"), 1), stamped(at("11:10:05"), at("10:56"))], 10, False),
    "too far ahead, in its hour": Case([good(at("11:10"), 1), stamped(at("11:10:05"), at("11:50"))], 11, True),
    "too far ahead, in the next hour": Case([good(at("11:50"), 1), stamped(at("11:50:05"), at("12:05:30"))], 11, True),
    "of another year": Case([good(at("11:10"), 1), stamped(at("11:10:05"), NEXT_DECADE)], 11, True),
    "of another year, in a file of two hours": Case(
        [good(at("10:59"), 1), good(at("11:00"), 2), stamped(at("11:00:05"), NEXT_DECADE)], 11, True
    ),
    "too far behind, near what came before": Case(
        [good(at("11:10"), 1), stamped(at("11:11:30"), at("10:56"))], 11, True
    ),
    "too far ahead, in a file of many hours": Case(
        [good(at("08:59"), 1), stamped(at("10:30"), at("11:30")), good(at("13:01"), 2)], 10, True
    ),
    "too far behind, in a file of many hours": Case(
        [good(at("08:59"), 1), stamped(at("12:30"), at("11:30"))], 12, True
    ),
    "near, in a file of many hours": Case([good(at("08:59"), 1), stamped(at("12:30"), at("12:35"))], 12, False),
    "too far ahead, in a file named later": Case(
        [stamped(at("11:02"), at("11:40")), good(at("11:20"), 1)], 11, True, timedelta(minutes=18)
    ),
    "behind, in a file named later": Case(
        [stamped(at("11:02"), at("10:58")), good(at("11:03"), 1)], 10, False, timedelta(minutes=12)
    ),
    "no JSON behind it": Case([good(at("11:10"), 1), odd_envelope(at("11:10:05"), b'{"a":')], 11, True),
    "an event behind another": Case(
        [good(at("11:10"), 1), odd_envelope(at("11:10:05"), b"{}," + event_text(at("11:10"), "click")[1:-1])], 11, False
    ),
}  # fmt: skip


@pytest.mark.parametrize(("records", "hour", "fails", "behind"), CASES.values(), ids=CASES)
def test_a_record_has_one_identity_in_one_hour(
    lake: S3Lake, tmp_path: Path, records: Sequence[StreamRecord], hour: int, fails: bool, behind: timedelta
) -> None:
    deliver(*records, behind=behind)

    for _ in range(2):  # the second time, from what the first has made of it
        found = settle(lake, tmp_path)

        assert {balance.state for balance in found.values()} == {"balanced"}
        assert sum(balance.raw_records for balance in found.values()) == len(records)
        assert {each for each, balance in found.items() if balance.failed_records} == ({hour} if fails else set())
        others = [record for record in records if IDENTITY.encode() not in record.data]
        assert found[hour].raw_records == 1 + sum(record.arrival.hour == hour for record in others)
    assert not [key for key in keys() if "/heal-" in key]


def test_what_the_enrichment_left_out_is_judged_by_when_its_file_was_open(lake: S3Lake, tmp_path: Path) -> None:
    written = deliver(good(at("11:10"), 1), stamped(at("11:10:05"), NEXT_DECADE))
    for key in written[1:]:
        lake._bucket.delete([key])

    (balance,) = settle(lake, tmp_path).values()

    assert (balance.state, balance.enriched_records, balance.failed_records) == ("balanced", 1, 1)


def test_an_error_file_that_comes_later_is_heeded(lake: S3Lake) -> None:
    """What was read before it came lies on this disk, cut by what was known then."""
    refused = stamped(at("11:10:05"), at("11:25:07"))
    *_, failed = deliver(good(at("11:10"), 1), refused)
    errors = lake.read(failed)
    lake._bucket.delete([failed])

    def identities() -> set[str]:
        files = lake.list_hour("raw", ELEVEN)
        return {record.record_id for batch in raw_records(files) for record in batch}

    before = identities()
    lake._bucket.put(failed, errors, {})
    after = identities()

    assert before == {f"{1:032x}", IDENTITY}
    assert IDENTITY not in after
    assert len(after) == 2


def test_cuts_made_by_an_older_rule_are_not_used(lake: S3Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(good(at("11:10"), 1))
    (file,) = lake.list_hour("raw", ELEVEN)
    cut = Path(file)
    monkeypatch.setattr(s3_lake, "RULE", -1)

    (again,) = lake.list_hour("raw", ELEVEN)

    assert not cut.samefile(again)
