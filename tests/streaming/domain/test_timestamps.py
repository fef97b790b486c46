from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.domain.timestamps import as_utc, format_timestamp, milliseconds, parse_timestamp

MOMENT = datetime(2021, 7, 12, 12, 1, 58, 732726, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2021-07-12 12:01:58.732726",
        "2021-07-12T12:01:58.732726",
        "2021-07-12T12:01:58.732726Z",
        "2021-07-12T12:01:58.732726999Z",
        "2021-07-12 14:01:58.732726+02:00",
    ],
)
def test_both_forms_and_any_offset_give_the_same_moment(text: str) -> None:
    assert parse_timestamp(text) == MOMENT
    assert parse_timestamp(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2021-07-12",
        "20210712T120158Z",
        "2021-W28-1T12:01:58",
        "2021-02-30 00:00:00",
        "2021-07-12 12:01:58\n",
        "0001-01-01 00:00:00+23:59",
        "-2021-07-12 12:01:58",
        "2021-07-12 24:00:01",
        "２021-07-12 12:01:58",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message differs by fault
        parse_timestamp(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_written_reads_back_and_sorts(moment: datetime) -> None:
    text = format_timestamp(moment)
    assert len(text) == 27
    assert parse_timestamp(text) == moment


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=2, max_size=5))
def test_written_timestamps_sort_as_time_does(moments: list[datetime]) -> None:
    assert [format_timestamp(m) for m in sorted(moments)] == sorted(format_timestamp(m) for m in moments)


def test_other_zones_are_written_in_utc() -> None:
    assert format_timestamp(MOMENT.astimezone(timezone(timedelta(hours=-7)))) == "2021-07-12T12:01:58.732726Z"


def test_milliseconds_are_whole_and_exact():
    second = datetime(2004, 8, 6, 9, 23, 29, tzinfo=UTC)  # floating point loses its millisecond 215
    since_1970 = 1_091_784_209_000

    for number in range(1000):
        assert milliseconds(second + timedelta(milliseconds=number)) == since_1970 + number
        assert milliseconds(second + timedelta(milliseconds=number, microseconds=999)) == since_1970 + number


def test_a_moment_without_a_zone_is_in_utc():
    naive = datetime(2026, 11, 23, 4, 5, 6)  # noqa: DTZ001
    there = datetime(2026, 11, 23, 6, 5, 6, tzinfo=timezone(timedelta(hours=2)))

    assert as_utc(naive) == as_utc(there) == datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)
    assert as_utc(there).tzinfo is UTC
