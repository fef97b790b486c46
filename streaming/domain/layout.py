"""Where things lie in the lake: Hive-style, zero-padded prefixes, as Firehose writes them."""

import re
from datetime import UTC, datetime, timedelta

from streaming.domain.tables import Partition, Table

HOUR = timedelta(hours=1)

# The folders of a partition, with every digit as 0.
PARTITION_FOLDERS: dict[Partition | None, tuple[str, ...]] = {
    "hour": ("year=0000", "month=00", "day=00", "hour=00"),
    "day": ("date=0000-00-00",),
    None: (),
}

# What broke the contract lies below it, in a folder for each stage that found it.
FAILED_PREFIX = "failed"

_HOUR_FOLDERS = re.compile(r"year=(\d{4})/month=(\d{2})/day=(\d{2})/hour=(\d{2})(?:/|$)")


def hour_of(moment: datetime) -> datetime:
    """The start of the UTC hour that holds `moment`."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def hour_prefix(prefix: str, hour: datetime) -> str:
    """Folder of one hour of a table: `raw/year=2026/month=11/day=23/hour=04`."""
    return f"{prefix}/{hour.astimezone(UTC):year=%Y/month=%m/day=%d/hour=%H}"


def day_prefix(prefix: str, day: str) -> str:
    """Folder of one day of an aggregate: `aggregated/events_by_type/date=2026-11-23`."""
    return f"{prefix}/date={day}"


def failed_prefix(stage: str) -> str:
    """Where a stage records failures: `failed/enrichment`."""
    return f"{FAILED_PREFIX}/{stage}"


def folder_patterns(table: Table) -> list[str]:
    """What the folders of a table's partition are named like, as patterns of a shell."""
    return [folder.replace("0", "[0-9]") for folder in PARTITION_FOLDERS[table.partition]]


def parse_hour(path: str) -> datetime | None:
    """The hour that a path of the lake lies in, or None where it has none."""
    found = _HOUR_FOLDERS.search(path)
    if not found:
        return None
    year, month, day, hour = map(int, found.groups())
    return datetime(year, month, day, hour, tzinfo=UTC)
