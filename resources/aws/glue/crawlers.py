"""Crawlers of the Glue Data Catalog: started when they are due, awaited, and what they found told as drift.

The template has one for `raw`, which the custom classifier `events` reads, and one for Parquet landing. They write
tables of their own beside the declared ones, named `crawled_…`, so what is declared is never changed by what is found.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from resources.aws.glue.tables import column_paths, hive_type
from resources.crawler import Crawl, Drift
from resources.file_schemas import declared_json, json_difference
from streaming.domain.classifiers import ENVELOPED_EVENT, classifiers_of
from streaming.domain.schema_drift import Difference, differences
from streaming.domain.stack import Stack
from streaming.domain.tables import Table

CRAWLERS = ("raw", "landing")
CRAWLED = "crawled_"
# A crawl is billed for ten minutes at least, and reads everything.
CRAWL_EVERY = timedelta(days=1)
_TIMEOUT_SECONDS = 1800
_POLL_SECONDS = 10
_LOG_PLACE = ("LogGroup", "LogStream")
_JSON_TYPES = {"VARCHAR": "string", "INT": "integer", "BIGINT": "integer", "STRUCT": "object", "BOOLEAN": "boolean"}

GlueTable = Mapping[str, Any]


class CrawlFailedError(Exception):
    """A crawl failed or took too long; the message names the crawler, why, and where its log is."""


class GlueCrawlers:
    """The crawlers of a stack.

    Args:
        glue: a client of it.
        timeout_seconds: how long all of them may take together.
    """

    def __init__(
        self, stack: Stack, glue: Any, timeout_seconds: float = _TIMEOUT_SECONDS, poll_seconds: float = _POLL_SECONDS
    ) -> None:
        self._names = [stack.part(role) for role in CRAWLERS]
        self._glue = glue
        self._timeout_seconds = timeout_seconds
        self._poll_seconds = poll_seconds

    def crawl(self) -> list[str]:
        """Start those whose last crawl, good or not, began `CRAWL_EVERY` ago, and wait; returns the names of these.

        One that somebody else started is waited for.

        Raises:
            CrawlFailedError: one failed, was cancelled, or took too long; so it is told until one succeeds.
        """
        deadline = time.monotonic() + self._timeout_seconds
        crawlers = {name: self._crawler(name) for name in self._names}
        due = [name for name, crawler in crawlers.items() if _is_due(crawler)]
        for name in due:
            self._start(name)
        for name, crawler in crawlers.items():
            self._look_at(self._ended(name, deadline) if name in due else crawler)
        return due

    def _crawler(self, name: str) -> dict[str, Any]:
        crawler: dict[str, Any] = self._glue.get_crawler(Name=name)["Crawler"]
        return crawler

    def _start(self, name: str) -> None:
        try:
            self._glue.start_crawler(Name=name)
        except self._glue.exceptions.CrawlerRunningException:
            return

    def _ended(self, name: str, deadline: float) -> dict[str, Any]:
        while (crawler := self._crawler(name))["State"] != "READY":
            if time.monotonic() > deadline:
                raise CrawlFailedError(
                    f"crawler {name} is still {crawler['State']} after {self._timeout_seconds:.0f} s"
                )
            time.sleep(self._poll_seconds)
        return crawler

    def _look_at(self, crawler: Mapping[str, Any]) -> None:
        last = crawler.get("LastCrawl", {})
        if last.get("Status") != "SUCCEEDED":
            told = last.get("ErrorMessage") or "it says no reason"
            where = _log_link(last, self._glue.meta.region_name)
            raise CrawlFailedError(f"crawler {crawler['Name']}: {last.get('Status', 'no crawl')}: {told}; log: {where}")


def crawled_files(crawled: Sequence[GlueTable], ran: Sequence[str]) -> Crawl:
    """What crawls counted: they read all files or, not being due, none."""
    files = sum(map(_files, crawled))
    return Crawl(files, files if ran else 0, 0)


def drifts(tables: Sequence[Table], crawled: Sequence[GlueTable], root: str) -> list[Drift]:
    """How the tables that crawlers wrote differ from the declared ones that lie in the same place of the lake."""
    return [
        Drift(
            table.name,
            each.column,
            each.kind,
            each.is_error,
            each.declared,
            each.found,
            _files(found),
            _location(found).removeprefix(f"{root}/"),
            found["UpdateTime"].astimezone(UTC),
        )
        for table in tables
        for found in crawled
        if f"{_location(found)}/".startswith(f"{root}/{table.prefix}/")
        for each in _differences(table, found)
    ]


def _is_due(crawler: Mapping[str, Any]) -> bool:
    """A crawl that failed is billed like any other: the next is due a day after it, too."""
    begun = crawler.get("LastCrawl", {}).get("StartTime")
    return crawler["State"] != "READY" or begun is None or begun < datetime.now(UTC) - CRAWL_EVERY


def _log_link(last: Mapping[str, Any], region: str) -> str:
    group, stream = (quote(quote(last.get(key, ""), safe=""), safe="").replace("%", "$") for key in _LOG_PLACE)
    console = f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
    return f"{console}#logsV2:log-groups/log-group/{group}/log-events/{stream}"


def _differences(table: Table, found: GlueTable) -> Iterator[Difference]:
    columns = {column["Name"]: column["Type"] for column in found["StorageDescriptor"]["Columns"]}
    paths = dict(column_paths(columns))
    if table.format != "json":
        declared = {column.name: hive_type(column.type) for column in table.columns}
        yield from differences(dict(column_paths(declared)), paths)
        return
    # The classifier shows a crawler the event alone, which has no column of the envelope.
    is_event = ENVELOPED_EVENT in classifiers_of(table) and "record_id" not in columns
    prefix = f"{ENVELOPED_EVENT.member}." if is_event else ""
    for path, type_ in paths.items():
        node = (f"{prefix}{path}", _json_type(type_, declared_json(table).get(f"{prefix}{path}")))
        if difference := json_difference(node, declared_json(table)):
            yield difference


def _json_type(type_: str, declared: str | None) -> str:
    """A moment is text to a crawler: whether it is one is told by the files that are read."""
    if declared == "timestamp" and type_ == "VARCHAR":
        return declared
    return "array" if type_.endswith("[]") else _JSON_TYPES.get(type_, "number")


def _files(found: GlueTable) -> int:
    return int(found.get("Parameters", {}).get("objectCount", 0))


def _location(found: GlueTable) -> str:
    return str(found["StorageDescriptor"]["Location"]).rstrip("/")
