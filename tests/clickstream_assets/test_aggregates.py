"""Aggregates on input to check by hand, and against plain pandas; what they depend on."""

import io
import itertools
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_assets import pending
from clickstream_assets.aggregates.dependence import DAY, Dependence, FlattenedDays
from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.aggregates.unload import unload, unloaded_file
from resources.lake import Lake, partition_file
from resources.warehouse import DuckDBWarehouse
from streaming.domain.layout import hour_of
from streaming.domain.tables import FLATTENED_EVENTS
from streaming.edges.parquet import arrow_schema

MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
BY_NAME = {aggregate.name: aggregate for aggregate in AGGREGATES}

Visit = tuple[str, datetime, str]


def flatten_events(lake: Lake, events: Iterable[Visit]) -> None:
    """Write flattened hours of (user, event time, event name); click_ids number the events."""
    by_hour: dict[datetime, list[dict[str, object]]] = {}
    for number, (user, moment, name) in enumerate(events):
        row = {"user_id": user, "event_timestamp": moment.replace(tzinfo=None), "event_name": name}
        by_hour.setdefault(hour_of(moment), []).append(row | {"click_id": f"{number:06}"})
    for hour, rows in by_hour.items():
        file = lake.path(partition_file(FLATTENED_EVENTS, hour))
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, arrow_schema(FLATTENED_EVENTS)), file)


def unloaded(lake: Lake, warehouse: DuckDBWarehouse, name: str, day: date) -> str:
    unload(BY_NAME[name], day, FlattenedDays(lake), lake, warehouse)
    return lake.path(unloaded_file(BY_NAME[name], day)).read_text()


def at(*minutes: float) -> list[datetime]:
    """Moments by minutes from midnight."""
    return [MIDNIGHT + timedelta(minutes=minute) for minute in minutes]


def sessions(lake: Lake, warehouse: DuckDBWarehouse, day: int = 0) -> list[str]:
    """The lines of a day, given by its distance from that of MIDNIGHT."""
    return unloaded(lake, warehouse, "sessions", MIDNIGHT.date() + day * DAY).splitlines()[1:]


def test_sessions_end_with_a_pause_of_more_than_half_an_hour(lake: Lake, warehouse: DuckDBWarehouse) -> None:
    names = ["Search", "ViewContent", "Purchase", "Search", "AddToCart"]
    flatten_events(lake, [("20", moment, name) for moment, name in zip(at(600, 630, 635.5, 665.6, 700), names)])  # noqa: B905
    assert unloaded(lake, warehouse, "sessions", MIDNIGHT.date()) == (
        "user_id|session_start|session_end|duration_seconds|events|entry_action|exit_action|converted\n"
        "20|2026-11-20 10:00:00|2026-11-20 10:35:30|2130|3|Search|Purchase|1\n"
        "20|2026-11-20 11:05:36|2026-11-20 11:05:36|0|1|Search|Search|0\n"
        "20|2026-11-20 11:40:00|2026-11-20 11:40:00|0|1|AddToCart|AddToCart|0\n"
    )


def test_a_session_belongs_to_the_day_it_starts_on(lake: Lake, warehouse: DuckDBWarehouse) -> None:
    flatten_events(lake, [("20", moment, "Search") for moment in at(-20, 5, 30, 1430, 1450)])
    before, day, after = (sessions(lake, warehouse, step) for step in (-1, 0, 1))
    assert before == ["20|2026-11-19 23:40:00|2026-11-20 00:30:00|3000|3|Search|Search|0"]
    assert day == ["20|2026-11-20 23:50:00|2026-11-21 00:10:00|1200|2|Search|Search|0"]
    assert after == []


def test_events_at_one_moment_are_in_order_of_their_click_id(lake: Lake, warehouse: DuckDBWarehouse) -> None:
    flatten_events(lake, [("20", MIDNIGHT, name) for name in ("Search", "Purchase", "AddToCart")])
    assert sessions(lake, warehouse) == ["20|2026-11-20 00:00:00|2026-11-20 00:00:00|0|3|Search|AddToCart|1"]


def test_who_never_pauses_has_a_session_of_a_day_and_then_one_from_midnight_to_midnight(
    lake: Lake, warehouse: DuckDBWarehouse
) -> None:
    flatten_events(lake, [("bot", moment, "Search") for moment in at(*range(600, 4 * 1440, 20))])
    found = [sessions(lake, warehouse, number) for number in range(4)]
    assert [[line.split("|")[1:3] for line in day] for day in found] == [
        [["2026-11-20 10:00:00", "2026-11-21 09:40:00"]],
        [["2026-11-21 10:00:00", "2026-11-21 23:40:00"]],
        [["2026-11-22 00:00:00", "2026-11-22 23:40:00"]],
        [["2026-11-23 00:00:00", "2026-11-23 23:40:00"]],
    ]


def test_new_users_are_those_never_seen_before(lake: Lake, warehouse: DuckDBWarehouse) -> None:
    flatten_events(
        lake,
        [
            *(("old", moment, "Search") for moment in at(-40 * 1440, 10)),
            *(("gone", moment, "Search") for moment in at(-10)),
            *(("new", moment, "Search") for moment in at(5, 6, 1500)),
        ],
    )
    for step, row in ((-40, "1|1|0"), (-1, "1|1|0"), (0, "2|1|1"), (1, "1|0|1")):
        text = unloaded(lake, warehouse, "new_and_returning_users", MIDNIGHT.date() + step * DAY)
        assert text == f"users|new_users|returning_users\n{row}\n"


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
    found = over_all_days(tmp_path_factory.mktemp("lake"), "sessions", events)
    assert found["events"].sum() == len(events)
    assert (found["duration_seconds"] < 24 * 3600).all()
    expected = pandas_sessions(events)
    assert found.astype(str).values.tolist() == expected.astype(str).values.tolist()


@settings(max_examples=20)
@given(visits=MINUTES)
def test_new_and_returning_users_agree_with_pandas(
    tmp_path_factory: pytest.TempPathFactory, visits: list[tuple[str, int, str]]
) -> None:
    events = [(user, at(minute)[0], name) for user, minute, name in visits]
    found = over_all_days(tmp_path_factory.mktemp("lake"), "new_and_returning_users", events)
    seen = pd.DataFrame({"user": [user for user, _, _ in events], "day": [moment.date() for _, moment, _ in events]})
    first = seen.groupby("user")["day"].min()
    days = [
        (users.nunique(), sum(first[user] == day for user in users.unique()))
        for day, users in seen.groupby("day")["user"]
    ]
    assert found.values.tolist() == [[users, new, users - new] for users, new in days]
    assert found["new_users"].sum() == seen["user"].nunique()


def over_all_days(folder: Path, name: str, events: Sequence[Visit]) -> pd.DataFrame:
    lake, warehouse = Lake(folder), DuckDBWarehouse(100_000_000, folder / ".duckdb")
    flatten_events(lake, events)
    texts = [unloaded(lake, warehouse, name, day) for day in FlattenedDays(lake).days]
    columns = list(BY_NAME[name].table.column_names)
    frames = [pd.read_csv(io.StringIO(text), sep="|", parse_dates=columns[1:3] if name == "sessions" else None)
              for text in texts]  # fmt: skip
    found = pd.concat(frames) if frames else pd.DataFrame(columns=columns)
    return found.sort_values(columns[:2]) if name == "sessions" else found


def pandas_sessions(events: Sequence[Visit]) -> pd.DataFrame:
    """By the definition, event after event of a user, seeing all history."""
    rows = []
    numbered = sorted((user, moment, number, name) for number, (user, moment, name) in enumerate(events))
    for user, of_user in itertools.groupby(numbered, key=lambda each: each[0]):
        visit = start = previous = None
        for _, moment, _, name in of_user:
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


def test_days_depend_on_what_the_registry_declares(lake: Lake) -> None:
    flatten_events(lake, [("20", moment, "Search") for moment in at(-5 * 1440, -1440, 0, 1440, 3 * 1440)])
    flattened = FlattenedDays(lake)
    day = MIDNIGHT.date()
    all_days = [day + step * DAY for step in (-5, -1, 0, 1, 3)]
    assert flattened.days == all_days
    assert flattened.dependents(Dependence.DAY, [day]) == [day]
    assert flattened.dependents(Dependence.NEIGHBOURS, [day]) == all_days[1:4]
    assert flattened.dependents(Dependence.HISTORY, [day]) == all_days[2:]
    assert [len(flattened.files(each, day)) for each in Dependence] == [1, 3, 3]
    assert len(flattened.files(Dependence.HISTORY, all_days[-1])) == 5


def test_a_day_is_behind_when_one_it_depends_on_was_flattened_anew(lake: Lake, warehouse: DuckDBWarehouse) -> None:
    moments = at(-5 * 1440, -1440, 0, 1440, 3 * 1440)
    flatten_events(lake, [("20", moment, "Search") for moment in moments])
    for day, aggregates in pending.days(lake).items():
        for aggregate in aggregates:
            unload(aggregate, day, FlattenedDays(lake), lake, warehouse)
    assert not pending.days(lake)

    flatten_events(lake, [("35", MIDNIGHT, "Search")])

    behind = pending.days(lake)
    assert pending.days(lake, [MIDNIGHT.date()]) == behind
    by_aggregate = {each: [day for day, some in behind.items() if each in some] for each in AGGREGATES}
    days = [moment.date() for moment in moments]
    asked = {Dependence.DAY: [days[2]], Dependence.NEIGHBOURS: days[1:4], Dependence.HISTORY: days[2:]}
    assert {each: sorted(some) for each, some in by_aggregate.items()} == {
        each: asked[each.depends_on] for each in AGGREGATES
    }


@pytest.mark.parametrize("dated", [-3600, 3600])
def test_a_day_is_behind_whatever_the_clock_says(lake: Lake, warehouse: DuckDBWarehouse, dated: int) -> None:
    """An older date than the newest hour's: a slower writer had begun before, or the clock was set back."""
    flatten_events(lake, [("20", moment, "Search") for moment in at(-1440, 0, 60)])
    for day, aggregates in pending.days(lake).items():
        for aggregate in aggregates:
            unload(aggregate, day, FlattenedDays(lake), lake, warehouse)
    file = lake.path(partition_file(FLATTENED_EVENTS, MIDNIGHT))
    then = file.stat().st_mtime + dated

    os.utime(file, (then, then))

    assert pending.days(lake)[MIDNIGHT.date()] == list(AGGREGATES)
