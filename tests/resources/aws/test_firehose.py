"""How far Firehose is, by what CloudWatch is told of it: never farther than that proves."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from resources.aws.firehose import (
    METRICS_DELAY,
    FirehoseDelivery,
    FirehoseMetrics,
    FirehoseProgress,
    delivered_up_to,
    records_come,
)
from resources.delivery import ShardProgress
from streaming.domain.envelope import MAX_STAMP_DRIFT
from streaming.domain.stack import Stack
from streaming.edges.event_stream import SHARD_END, Checkpoint

AT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


def minutes(*figures: tuple[int, float]) -> dict[datetime, float]:
    """Figures by how many minutes before AT they are of."""
    return {AT - timedelta(minutes=before): figure for before, figure in figures}


def each_minute(since: int, until: int, figure: float) -> dict[datetime, float]:
    return minutes(*((before, figure) for before in range(since, until, -1)))


def metrics(**series: dict[datetime, float]) -> FirehoseMetrics:
    return FirehoseMetrics(**{name: series.get(name, {}) for name in FirehoseMetrics._fields})


def before(minutes: float) -> datetime:
    return AT - timedelta(minutes=minutes)


IDLE = each_minute(60, 0, 0)


HUNDRED = each_minute(60, 0, 100)
STEADY = {"incoming": HUNDRED, "behind": IDLE, "raw_records": HUNDRED, "passed": HUNDRED}


class TestUnderTraffic:
    def test_it_is_as_far_as_the_oldest_record_that_is_held(self):
        ages = each_minute(60, 0, 90)

        assert delivered_up_to(metrics(**STEADY, row_age=ages, raw_age=ages), AT) == before(1 + 1.5)

    @pytest.mark.parametrize("late", ["row_age", "raw_age"])
    def test_the_later_of_rows_and_raw_copy_counts(self, late):
        ages = {"row_age": each_minute(60, 0, 90), "raw_age": each_minute(60, 0, 90), late: each_minute(60, 0, 600)}

        assert delivered_up_to(metrics(**STEADY, **ages), AT) == before(1 + 10)

    def test_what_firehose_has_not_read_yet_is_not_delivered(self):
        ages = each_minute(60, 0, 90)
        behind = each_minute(60, 10, 0) | each_minute(10, 0, 300_000)
        told = metrics(incoming=each_minute(60, 0, 100), behind=behind, row_age=ages, raw_age=ages)

        assert delivered_up_to(told, AT) == before(1 + 5 + 1.5)

    def test_what_is_held_for_long_counts_by_how_far_reading_was_behind_when_it_was_read(self):
        ages = minutes((10, 1800))  # read forty minutes ago, when it was an hour old
        behind = each_minute(120, 38, 3_600_000) | each_minute(38, 0, 0)
        told = metrics(incoming=each_minute(120, 0, 100), behind=behind, row_age=ages, raw_age=ages)

        assert delivered_up_to(told, AT) == before(40 + 60)

    def test_what_was_proved_once_stays_so_while_ages_grow(self):
        growing = minutes(*((before, 60 * (30 - before)) for before in range(30, 0, -1)))

        assert delivered_up_to(metrics(**STEADY, row_age=growing, raw_age=growing), AT) == before(30)

    @pytest.mark.parametrize("missing", ["row_age", "raw_age", "behind"])
    def test_records_that_came_and_a_figure_that_nobody_has_prove_nothing(self, missing):
        told = {"row_age": each_minute(60, 0, 90), "raw_age": each_minute(60, 0, 90), **STEADY, missing: {}}

        assert delivered_up_to(metrics(**told), AT) is None

    @pytest.mark.parametrize(
        ("rows", "minutes_behind"),
        [
            ({}, 2.5 + 15),
            ({"passed": minutes((50, 3)), "row_records": minutes((49, 3))}, 2.5 + 15),
            ({"passed": minutes((50, 3)), "row_records": minutes((49, 3)), "row_age": minutes((49, 60))}, 2.5 + 15),
            ({"passed": minutes((50, 3)), "row_records": minutes((49, 2)), "row_age": minutes((49, 60))}, 49 + 1),
            ({"passed": minutes((50, 3)), "row_records": minutes((51, 3)), "row_age": minutes((49, 60))}, 49 + 1),
            ({"passed": minutes((50, 3)), "row_records": minutes((49, 2))}, None),
            ({"row_age": minutes((2, 2400))}, 2 + 40),
        ],
        ids=[
            "no row in a day", "rows that landed", "and told their age", "a row is blocked", "others landed before",
            "one of no age", "one is held",
        ],
    )  # fmt: skip
    def test_what_fails_has_no_row_whose_age_would_be_told(self, rows, minutes_behind):
        told = {**STEADY, "passed": {}, "raw_age": each_minute(60, 0, 90)} | rows

        expected = None if minutes_behind is None else before(minutes_behind)
        assert delivered_up_to(metrics(**told), AT) == expected

    def test_delivery_that_is_blocked_says_nothing_and_stays_where_it_was(self):
        ages = each_minute(60, 30, 90)
        told = metrics(incoming=each_minute(60, 0, 100), behind=IDLE, row_age=ages, raw_age=ages)

        assert delivered_up_to(told, AT) == before(31 + 1.5)


class TestSilence:
    def test_nothing_came_and_firehose_reads_on(self):
        assert delivered_up_to(metrics(behind=IDLE), AT) == AT

    def test_nothing_is_known_of_anything(self):
        assert delivered_up_to(metrics(), AT) is None

    def test_a_reader_that_is_gone_or_behind_proves_nothing(self):
        assert delivered_up_to(metrics(behind=each_minute(60, 5, 0)), AT) is None
        assert delivered_up_to(metrics(behind=each_minute(60, 0, 5)), AT) is None

    def test_nothing_came_since_the_moment_that_ages_prove(self):
        ages = each_minute(60, 40, 90) | minutes((40, 0))
        told = metrics(incoming=each_minute(60, 43, 100), behind=IDLE, row_age=ages, raw_age=ages)

        assert delivered_up_to(told, AT) == AT

    @pytest.mark.parametrize(
        ("raw_records", "expected"),
        [
            (minutes((41, 300)), AT),
            (minutes((41, 100), (40, 200)), AT),
            (minutes((41, 299)), before(41 + 1.5)),
            ({}, before(41 + 1.5)),
            (minutes((45, 300)), before(41 + 1.5)),
        ],
        ids=["all of it", "in two files", "one short", "none", "others before"],
    )
    def test_what_came_last_counts_as_delivered_when_the_raw_copy_has_as_many(self, raw_records, expected):
        ages = each_minute(60, 40, 90)
        told = metrics(
            incoming=minutes((43, 100), (42, 200)), behind=IDLE, row_age=ages, raw_age=ages, raw_records=raw_records
        )
        assert delivered_up_to(told, AT) == expected

    @pytest.mark.parametrize(
        "still",
        [{"incoming": minutes((3, 1))}, {"raw_age": minutes((3, 60))}, {"behind": each_minute(60, 30, 0)}],
        ids=["records come", "some are held", "nobody reads"],
    )
    def test_it_takes_silence_for_a_while_to_believe_the_numbers(self, still):
        ages = each_minute(60, 40, 90)
        told = {"incoming": minutes((42, 200)), "behind": IDLE, "row_age": ages, "raw_age": ages}
        told = {name: told[name] | still.get(name, {}) for name in told} if "behind" not in still else told | still
        found = delivered_up_to(metrics(**told, raw_records=minutes((41, 1000))), AT)

        assert found is not None
        assert found < AT


class TestFiles:
    NAME = "clickstream-events-3-2026-11-20-09-30-12-5a1e3f5c-0f0e-4a56-8b13-2b0f3a1d9c77.parquet"

    @pytest.mark.parametrize(
        ("caught_up_to", "passed"),
        [(None, False), (AT - timedelta(minutes=31), False), (AT - timedelta(minutes=29), True)],
    )
    def test_a_file_of_firehose_is_passed_by_when_it_begins(self, caught_up_to, passed):
        assert FirehoseProgress(caught_up_to).has_passed(Path(self.NAME)) is passed

    def test_a_repair_is_whole_when_it_is_seen(self):
        assert FirehoseProgress(None).has_passed(Path(f"repair-{5:032x}.parquet"))

    @pytest.mark.parametrize("name", ["part-0.parquet", NAME.replace("-2026-11-", "-2026-13-"), NAME[:60], ""])
    def test_nobody_knows_of_what_goes_by_another_name(self, name):
        assert not FirehoseProgress(AT).has_passed(Path(name))

    FIRST, LAST = f"{49 * 10**54}", f"{49 * 10**54 + 9}-000002"

    @pytest.mark.parametrize(
        ("checkpoint", "passed"),
        [
            (Checkpoint(LAST, AT), True),
            (Checkpoint(f"{49 * 10**54 + 9}-000001", AT), False),
            (Checkpoint(f"{49 * 10**54 + 10}", AT), True),
            (Checkpoint(FIRST, AT), False),
            (Checkpoint(None, None), False),
            (Checkpoint(FIRST, SHARD_END), True),
        ],
    )
    def test_a_file_of_a_worker_on_kinesis_is_passed_by_its_last_record(self, checkpoint, passed):
        file = Path(f"shardId-000000000000-{self.FIRST}-{self.LAST}.parquet")

        assert ShardProgress({"shardId-000000000000": checkpoint}).has_passed(file) is passed
        assert ShardProgress({"shardId-000000000001": checkpoint}).has_passed(file)


def tell(metric: str, values: Iterable[tuple[datetime, float]], namespace: str = "AWS/Firehose") -> None:
    """What the services tell CloudWatch."""
    dimension = {"AWS/Firehose": "DeliveryStreamName", "AWS/Kinesis": "StreamName"}[namespace]
    data = [
        {
            "MetricName": metric,
            "Dimensions": [{"Name": dimension, "Value": "clickstream-events"}],
            "Timestamp": moment,
            "Value": value,
        }
        for moment, value in values
    ]
    boto3.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=data)


@pytest.mark.parametrize(("minute", "come"), [(31, False), (30, True), (16, True), (15, False), (1, False)])
def test_records_come_when_some_did_before_what_may_still_be_held(minute, come):
    assert records_come(metrics(incoming=minutes((minute, 1))), AT) is come
    assert not records_come(metrics(incoming=minutes((minute, 0))), AT)


@pytest.mark.usefixtures("aws")
class TestCloudWatch:
    def test_an_account_without_figures_knows_nothing(self):
        assert FirehoseDelivery(Stack("clickstream")).progress().caught_up_to is None

    def test_it_reads_what_the_services_tell(self):
        now = datetime.now(UTC).replace(second=30, microsecond=0)
        moments = [now - timedelta(minutes=before) for before in range(40, 0, -1)]
        tell("IncomingRecords", [(moment, 10) for moment in moments], "AWS/Kinesis")
        tell("KinesisMillisBehindLatest", [(moment, value) for moment in moments for value in (0, 1000)])
        tell("DeliveryToS3.DataFreshness", [(moment, value) for moment in moments for value in (20, 80)])
        tell("BackupToS3.DataFreshness", [(moment, 50) for moment in moments])
        tell("BackupToS3.Records", [(moment, 10) for moment in moments])

        found = FirehoseDelivery(Stack("clickstream")).progress().caught_up_to

        newest = datetime.now(UTC).replace(second=0, microsecond=0) - METRICS_DELAY - timedelta(minutes=1)
        expected = newest - timedelta(seconds=81) - MAX_STAMP_DRIFT
        assert expected - timedelta(minutes=1) <= found <= expected
        assert FirehoseDelivery(Stack("clickstream")).progress().records_come
        assert FirehoseDelivery(Stack("another")).progress() == FirehoseProgress(None, records_come=False)

    @pytest.mark.parametrize(
        ("state", "known"), [("Complete", True), ("InternalError", False), ("Forbidden", False), ("PartialData", False)]
    )
    def test_figures_that_are_not_complete_prove_nothing(self, state, known):
        now = datetime.now(UTC).replace(second=30, microsecond=0)
        tell("KinesisMillisBehindLatest", [(now - timedelta(minutes=before), 0) for before in range(40, 0, -1)])
        delivery = FirehoseDelivery(Stack("clickstream"))

        def answer(parsed, **_):
            (incoming,) = (result for result in parsed["MetricDataResults"] if result["Id"] == "incoming")
            incoming["StatusCode"] = state

        delivery._cloudwatch.meta.events.register("after-call.cloudwatch.GetMetricData", answer)

        assert (delivery.progress().caught_up_to is not None) is known
