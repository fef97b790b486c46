from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from streaming.domain.layout import day_prefix, hour_of, hour_prefix, parse_hour


def test_prefixes_are_zero_padded() -> None:
    assert hour_prefix("raw", datetime(2026, 1, 3, 4, tzinfo=UTC)) == "raw/year=2026/month=01/day=03/hour=04"
    assert day_prefix("aggregated/events_by_type", "2026-01-03") == "aggregated/events_by_type/date=2026-01-03"


@given(st.integers(0, 7_000_000_000))
def test_a_prefix_reads_back_as_its_hour(seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    path = f"lake/{hour_prefix('raw', moment)}/part.json.gz"
    assert parse_hour(path) == hour_of(moment)


def test_an_hour_is_utcs() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    assert hour_of(datetime(2026, 1, 1, 0, 15, tzinfo=india)) == datetime(2025, 12, 31, 18, tzinfo=UTC)


def test_other_paths_have_no_hour() -> None:
    assert parse_hour("aggregated/events_by_type/date=2026-01-03/x.csv") is None
