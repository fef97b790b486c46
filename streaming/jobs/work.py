"""What the Spark jobs are told and what they answer: values that travel as JSON.

Paths are absolute ones of this machine, or URLs such as `s3://bucket/key`.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec


class RawCopy(msgspec.Struct):
    """A file of Firehose's raw copy: its lines are what was on the stream, and do not tell when they got there.

    That was between `begun` and `ended` (UTC). `unbelieved`: records whose stamp is too far from when they arrived,
    and that moment, by the hash of their bytes.
    """

    begun: datetime
    ended: datetime
    unbelieved: dict[str, list[datetime]] = {}


class LakeFile(msgspec.Struct):
    """A file of the lake. `hour` (UTC): only those of its rows count that arrived then; None: all do."""

    path: str
    hour: datetime | None = None
    raw: RawCopy | None = None


class Target(msgspec.Struct):
    """A partition to write: the file, and what its metadata say of it. `key` names it in what the job reports."""

    key: str
    file: str
    file_metadata: dict[str, str]


class FlattenedHour(msgspec.Struct):
    """An event hour [`start`, `end`), and the enriched files that hold its events."""

    target: Target
    start: datetime
    end: datetime
    enriched: Sequence[LakeFile]


class FlattenWork(msgspec.Struct):
    """What `flatten` does: one statement for many event hours, each written in this order."""

    statement: str
    order: Sequence[str]
    hours: Sequence[FlattenedHour]


class EnrichedHour(msgspec.Struct):
    """An hour of arrival to enrich from raw. `scratch` is a folder for what is on the way, and for its failures.

    `recorded` is a Parquet file of places by address, which are not to be looked up again.
    """

    target: Target
    raw: Sequence[LakeFile]
    landing: Sequence[LakeFile]
    scratch: str
    recorded: str | None = None


class HandedOver(msgspec.Struct):
    """Names and geo data as they stand when the job is asked for, which `version` names.

    `names` is a Parquet file of `user_id` and `name`; `geoip` an mmdb file or a folder of such, None where places come
    from elsewhere; `settings` are those that enrichment reads, by their variables.
    """

    version: str
    names: str
    geoip: str | None
    settings: dict[str, str]


class EnrichWork(msgspec.Struct):
    """What `enrich` does: two statements for many hours of arrival, each written in this order."""

    absent_from_raw: str
    enriched_events: str
    order: Sequence[str]
    look_ups: HandedOver
    hours: Sequence[EnrichedHour]


class Written(msgspec.Struct):
    """A partition that was written: its rows, the seconds it took, and who wrote it, for the run's page.

    `failures` are files of records that enrichment refused.
    """

    key: str
    rows: int
    failures: Sequence[str]
    seconds: float
    spark: str
    application: str
