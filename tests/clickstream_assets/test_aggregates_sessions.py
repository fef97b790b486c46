"""Sessions on input to check by hand, and against plain pandas."""

import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_assets.aggregates.dependence import DAY
from resources.lake import DirectoryLake
from resources.warehouse import DuckDBWarehouse
from tests.clickstream_assets import aggregates
from tests.clickstream_assets.aggregates import BY_NAME, MIDNIGHT, as_rows, at, event, over_all_days, unloaded

Visit = tuple[str, datetime, str]


def flatten_events(lake: DirectoryLake, visits: Iterable[Visit]) -> None:
    """Flattened events of (user, event time, event name)."""
    aggregates.flatten_events(lake, as_events(visits))


def as_events(visits: Iterable[Visit]) -> list[aggregates.Event]:
    return [event(user, (moment - MIDNIGHT) / timedelta(minutes=1), name) for user, moment, name in visits]


def sessions(lake: DirectoryLake, warehouse: DuckDBWarehouse, day: int = 0) -> list[str]:
    """The lines of a day, given by its distance from that of MIDNIGHT."""
    return unloaded(lake, warehouse, "sessions", MIDNIGHT.date() + day * DAY).splitlines()[1:]


def test_sessions_end_with_a_pause_of_more_than_half_an_hour(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    names = ["Search", "ViewContent", "Purchase", "Search", "AddToCart"]
    flatten_events(lake, [("20", moment, name) for moment, name in zip(at(600, 630, 635.5, 665.6, 700), names)])  # noqa: B905
    assert unloaded(lake, warehouse, "sessions", MIDNIGHT.date()) == (
        "user_id|session_start|session_end|duration_seconds|events|entry_action|exit_action|converted\n"
        "20|2026-11-20 10:00:00|2026-11-20 10:35:30|2130|3|Search|Purchase|1\n"
        "20|2026-11-20 11:05:36|2026-11-20 11:05:36|0|1|Search|Search|0\n"
        "20|2026-11-20 11:40:00|2026-11-20 11:40:00|0|1|AddToCart|AddToCart|0\n"
    )


def test_a_session_belongs_to_the_day_it_starts_on(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    flatten_events(lake, [("20", moment, "Search") for moment in at(-20, 5, 30, 1430, 1450)])
    before, day, after = (sessions(lake, warehouse, step) for step in (-1, 0, 1))
    assert before == ["20|2026-11-19 23:40:00|2026-11-20 00:30:00|3000|3|Search|Search|0"]
    assert day == ["20|2026-11-20 23:50:00|2026-11-21 00:10:00|1200|2|Search|Search|0"]
    assert after == []


def test_events_at_one_moment_are_in_order_of_their_names(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    flatten_events(lake, [("20", MIDNIGHT, name) for name in ("Search", "Purchase", "AddToCart")])
    assert sessions(lake, warehouse) == ["20|2026-11-20 00:00:00|2026-11-20 00:00:00|0|3|AddToCart|Search|1"]


def test_who_never_pauses_has_a_session_of_a_day_and_then_one_from_midnight_to_midnight(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    flatten_events(lake, [("bot", moment, "Search") for moment in at(*range(600, 4 * 1440, 20))])
    found = [sessions(lake, warehouse, number) for number in range(4)]
    assert [[line.split("|")[1:3] for line in day] for day in found] == [
        [["2026-11-20 10:00:00", "2026-11-21 09:40:00"]],
        [["2026-11-21 10:00:00", "2026-11-21 23:40:00"]],
        [["2026-11-22 00:00:00", "2026-11-22 23:40:00"]],
        [["2026-11-23 00:00:00", "2026-11-23 23:40:00"]],
    ]


MINUTES = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 3 * 1440 - 1), st.sampled_from(["Search", "Purchase"])), max_size=30
)
RUSHES = st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 110)), max_size=3)


@settings(max_examples=40)
@given(visits=MINUTES, rushes=RUSHES)
def test_sessions_agree_with_pandas_and_hold_every_event_once(
    tmp_path_factory: pytest.TempPathFactory, visits: list[tuple[str, int, str]], rushes: list[tuple[int, int]]
) -> None:
    """A rush is activity every half hour or less often than not: visits of more than a day are among them."""
    steady = [("c", start + 29 * number, "Search") for start, length in rushes for number in range(length)]
    events = [(user, at(minute)[0], name) for user, minute, name in [*visits, *steady]]
    found = over_all_days(tmp_path_factory.mktemp("lake"), "sessions", as_events(events))
    assert found["events"].sum() == len(events)
    assert (found["duration_seconds"] < 24 * 3600).all()
    expected = pandas_sessions(events)
    assert as_rows(found[expected.columns].to_numpy()) == as_rows(expected.to_numpy())


def pandas_sessions(events: Sequence[Visit]) -> pd.DataFrame:
    """By the definition, event after event of a user, seeing all history."""
    rows = []
    for user, of_user in itertools.groupby(sorted(events), key=lambda each: each[0]):
        visit = start = previous = None
        for _, moment, name in of_user:
            midnight = datetime.combine(moment.date(), datetime.min.time(), UTC)
            if previous is None or moment - previous > timedelta(minutes=30):
                visit = start = moment
            elif visit < midnight - timedelta(hours=23.5):  # it lasted a whole day
                start = moment if previous < midnight else start
            elif start == visit and moment >= visit + DAY:
                start = moment
            if not rows or rows[-1][0] != user or rows[-1][1] != start:
                rows.append([user, start, moment, 0, 0, name, name, 0])
            last = rows[-1]
            last[2], last[4], last[6] = moment, last[4] + 1, name
            last[3], last[7] = int((moment - last[1]).total_seconds()), max(last[7], int(name == "Purchase"))
            previous = moment
    frame = pd.DataFrame(rows, columns=list(BY_NAME["sessions"].table.column_names))
    for column in ("session_start", "session_end"):
        frame[column] = pd.to_datetime(frame[column]).dt.tz_localize(None) if len(frame) else frame[column]
    return frame
