"""What the ledger says of the platform's health, at a cost that does not grow with its age.

A file an hour makes thousands in a few years. A look lists them all, at microseconds each, and opens those that were
written since the last look of any process: what it finds is kept in an index file. On one machine, the raw hours are
looked at as far back as the sensors should have settled them in.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import msgspec

from streaming.domain.layout import hour_prefix, parse_hour
from streaming.domain.tables import ENRICHED_LANDING, EVENT_LEDGER, RAW_EVENTS
from streaming.edges.lake import replaced

_log = logging.getLogger(__name__)

STATES = ("open", "balanced", "red")
RECENT_HOURS = 3
# Since an hour began.
SETTLED_WITHIN = timedelta(hours=2)
_MOST_RAW_HOURS = 168
_HOUR_FOLDERS = 4  # year=, month=, day=, hour=
_READ_AT_ONCE = 16  # they may have to be fetched first


class LedgerFile(NamedTuple):
    """The file of an hour of `event_ledger`, and when it was put in place, ns since 1970."""

    hour: datetime
    written_at: int
    file: PathLike[str]


class LedgerHour(msgspec.Struct, frozen=True):
    """What is asked of one row of `event_ledger`, and when its file was put in place, ns since 1970."""

    arrival_hour: datetime
    state: str
    raw_records: int
    enriched_records: int
    failed_records: int
    missing_records: int
    unknown_records: int
    failures_by_type: dict[str, int]
    written_at: int
    # Hours balanced by an earlier version of the platform do not have these.
    degraded_records: int = 0
    conflicting_clicks: int = 0

    @property
    def degraded_share(self) -> float:
        """Share of the rows that an outage left without name or place."""
        return share(self.degraded_records, self.enriched_records)


@dataclass(frozen=True)
class Recent:
    """Records of the newest hours of arrival."""

    raw_records: int
    enriched_records: int
    failed_records: int
    failures_by_type: dict[str, int]
    degraded_records: int
    conflicting_clicks: int


@dataclass(frozen=True)
class LedgerHealth:
    """The ledger at a glance. Hours are hours of arrival, newest first.

    `hours` counts them by state. `unaccounted_records` are the missing and unknown of the red hours. `overdue` hours
    should have been settled by now. `degraded` hours have more rows without name or place than is tolerated.
    """

    hours: dict[str, int]
    last_sealed: datetime | None
    red: list[datetime]
    unaccounted_records: int
    overdue: list[datetime]
    degraded: list[datetime]
    recent: Recent


def ledger_health(
    lake: Path, index: Path, now: datetime, caught_up_to: datetime | None, degraded_share: float
) -> LedgerHealth:
    """Look at the ledger of a lake.

    Args:
        index: the file that remembers what ledger files hold; made when there is none.
        caught_up_to: how far delivery is; None where that is not known, and then no hour is overdue.
        degraded_share: the share of an hour's rows from which on it is degraded.
    """
    ledger = read_ledger(ledger_files(lake), index)
    overdue = _overdue(lake, ledger, min(now, caught_up_to)) if caught_up_to else []
    return at_a_glance(ledger, overdue, now, degraded_share)


def at_a_glance(
    ledger: Mapping[datetime, LedgerHour], overdue: list[datetime], now: datetime, degraded_share: float
) -> LedgerHealth:
    """What the hours of a ledger come to."""
    hours = sorted(ledger.values(), key=lambda hour: hour.arrival_hour, reverse=True)
    red = [hour for hour in hours if hour.state == "red"]
    return LedgerHealth(
        hours=dict(Counter(hour.state for hour in hours)),
        last_sealed=next((hour.arrival_hour for hour in hours if hour.state != "open"), None),
        red=[hour.arrival_hour for hour in red],
        unaccounted_records=sum(hour.missing_records + hour.unknown_records for hour in red),
        overdue=overdue,
        degraded=[hour.arrival_hour for hour in hours if hour.degraded_share > degraded_share],
        recent=_recent(hour for hour in hours if hour.arrival_hour > now - timedelta(hours=RECENT_HOURS)),
    )


def read_ledger(files: Sequence[LedgerFile], index: Path) -> dict[datetime, LedgerHour]:
    """The ledger by hour of arrival."""
    known = _load(index)
    ledger = {
        each.hour: known[each.hour]
        for each in files
        if each.hour in known and known[each.hour].written_at == each.written_at
    }
    with ThreadPoolExecutor(_READ_AT_ONCE) as threads:
        for row in threads.map(_read, [each for each in files if each.hour not in ledger]):
            ledger[row.arrival_hour] = row
    if ledger != known:
        _save(index, ledger)
    return ledger


def share(part: int, whole: int) -> float:
    """A share, 0 to 1; of nothing it is 0."""
    return part / whole if whole else 0.0


def _recent(hours: Iterable[LedgerHour]) -> Recent:
    newest = list(hours)
    failures: Counter[str] = Counter()
    for hour in newest:
        failures.update(hour.failures_by_type)
    return Recent(
        sum(hour.raw_records for hour in newest),
        sum(hour.enriched_records for hour in newest),
        sum(hour.failed_records for hour in newest),
        dict(failures.most_common()),
        sum(hour.degraded_records for hour in newest),
        sum(hour.conflicting_clicks for hour in newest),
    )


def _overdue(lake: Path, ledger: Mapping[datetime, LedgerHour], done_until: datetime) -> list[datetime]:
    """The hours with arrivals, of the newest ones, that are not settled though they should be since a while."""
    deadline = done_until - SETTLED_WITHIN
    hours = islice(_newest_hours(lake / RAW_EVENTS.prefix), _MOST_RAW_HOURS)
    return [hour for hour in hours if hour < deadline and not _is_settled(lake, ledger.get(hour), hour, deadline)]


def _is_settled(lake: Path, row: LedgerHour | None, hour: datetime, deadline: datetime) -> bool:
    """Whether an hour is balanced or red, and nothing has come to it after that and before the deadline."""
    if row is None or row.state == "open":
        return False
    folders = (lake / hour_prefix(table.prefix, hour) for table in (RAW_EVENTS, ENRICHED_LANDING))
    came = [moment for folder in folders if (moment := _modified_at(folder)) < deadline.timestamp() * 1e9]
    return all(moment <= row.written_at for moment in came)


def ledger_files(lake: Path) -> list[LedgerFile]:
    """The ledger of a lake in a folder."""
    files = (
        (hour, lake / hour_prefix(EVENT_LEDGER.prefix, hour) / f"{EVENT_LEDGER.name}.parquet")
        for hour in _newest_hours(lake / EVENT_LEDGER.prefix)
    )
    return [LedgerFile(hour, written_at, file) for hour, file in files if (written_at := _written_at(file))]


def _read(found: LedgerFile) -> LedgerHour:
    import pyarrow.parquet as pq  # noqa: PLC0415 - a tenth of a second that most looks need not spend

    with pq.ParquetFile(found.file) as ledger:
        there = set(ledger.schema_arrow.names)
        [row] = ledger.read([name for name in LedgerHour.__struct_fields__ if name in there]).to_pylist()
    row["arrival_hour"] = row["arrival_hour"].replace(tzinfo=UTC)
    row["failures_by_type"] = msgspec.json.decode(row["failures_by_type"])
    return LedgerHour(**row, written_at=found.written_at)


def _newest_hours(folder: Path) -> Iterator[datetime]:
    """The hours of a table, newest first."""
    return (hour for path in _newest_folders(folder, _HOUR_FOLDERS) if (hour := parse_hour(path)))


def _newest_folders(folder: Path, depth: int) -> Iterator[str]:
    try:
        names = sorted((path.name for path in folder.iterdir()), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if depth > 1:
            yield from _newest_folders(folder / name, depth - 1)
        else:
            yield f"{folder}/{name}"


def _written_at(file: Path) -> int:
    try:
        return file.stat().st_ctime_ns
    except FileNotFoundError:
        return 0


def _modified_at(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _load(index: Path) -> dict[datetime, LedgerHour]:
    try:
        hours = msgspec.json.decode(index.read_bytes(), type=list[LedgerHour])
    except (FileNotFoundError, msgspec.MsgspecError):  # none yet, or another version's: it is only a memory
        return {}
    return {hour.arrival_hour: hour for hour in hours}


def _save(index: Path, ledger: Mapping[datetime, LedgerHour]) -> None:
    try:
        with replaced(index, durable=False) as draft:
            draft.write_bytes(msgspec.json.encode(list(ledger.values())))
    except OSError as error:  # a full disk is when health is looked at
        _log.warning("the index of the ledger was not kept: %s", error)
