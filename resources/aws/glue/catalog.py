"""The catalog on AWS: a database of the Glue Data Catalog, which Athena, Redshift Spectrum and Spark read.

Tables are brought up to what is declared and keep what others wrote. Partitions are publishing's alone, for Glue cannot
compare and set them. Each keeps the columns that it was written with: CSV is read by position, so they are those of its
files; Parquet is read and checked by name, so an older partition lacks a newer column, and that is all.
Views are Athena's alone; Redshift and Spark see the tables. `enriched_events` is the sealed hours here, and
`enriched_landing` has what came since.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import dagster as dg
import sqlglot

from resources.aws.glue.crawlers import CRAWLED, GlueCrawlers, crawled_files, drifts
from resources.aws.glue.entries import Input, write_table
from resources.aws.glue.tables import hive_type, table_input
from resources.catalog import CatalogRefresh, View, drift_view
from resources.crawler import Crawl
from streaming.domain.stack import Stack
from streaming.domain.tables import Table
from streaming.edges.aws import client

_PRESTO_TYPES = {"VARCHAR": "varchar", "TIMESTAMP": "timestamp(3)"}


class GlueCatalog:
    """The database of a stack.

    Args:
        bucket: of the lake.
    """

    def __init__(self, stack: Stack, bucket: str) -> None:
        self.database = stack.database
        self._bucket = bucket
        self._root = f"s3://{bucket}"
        self._glue = client("glue")
        self._crawlers = GlueCrawlers(stack, self._glue)
        self._s3 = client("s3")

    def crawl(self, tables: Sequence[Table]) -> Crawl:
        """Have the crawlers look at landing, once a day.

        Raises:
            CrawlFailedError: one of them failed, or took too long.
        """
        ran = self._crawlers.crawl()
        return crawled_files(_crawled(self._known()), ran)

    def refresh(self, tables: Sequence[Table], views: Sequence[View] = ()) -> CatalogRefresh:
        self._make_database()
        known = self._known()
        for table in tables:
            self._bring_up(table, known.get(table.name))
        found = drifts(tables, _crawled(known), self._root)
        all_views = (*views, drift_view(found))
        for view in all_views:
            self._put(known.get(view.name), partial(self._view_input, view))
        empty = [table.name for table in tables if not self._has_files(table)]
        names = [*(table.name for table in tables), *(view.name for view in all_views)]
        return CatalogRefresh(names, empty, found)

    def _make_database(self) -> None:
        try:
            self._glue.create_database(DatabaseInput={"Name": self.database, "Description": "The clickstream's lake."})
        except self._glue.exceptions.AlreadyExistsException:
            return

    def _known(self) -> dict[str, dict[str, Any]]:
        pages = self._glue.get_paginator("get_tables").paginate(DatabaseName=self.database)
        try:
            return {table["Name"]: table for page in pages for table in page["TableList"]}
        except self._glue.exceptions.EntityNotFoundException:
            return {}

    def _bring_up(self, table: Table, known: Input | None) -> None:
        def declared(known: Input | None) -> Input:
            wanted = table_input(table, self._root)
            if known is not None:
                wanted["Parameters"] = {**known.get("Parameters", {}), **wanted["Parameters"]}
                if table.partition is None:  # publishing points the table itself to what it wrote
                    wanted["StorageDescriptor"]["Location"] = known["StorageDescriptor"]["Location"]
            return wanted

        self._put(known, declared)

    def _put(self, known: Input | None, declared: Callable[[Input | None], Input]) -> None:
        wanted = declared(known)
        if known is None or not _holds(known, wanted):
            write_table(self._glue, self.database, wanted["Name"], declared)

    def _view_input(self, view: View, _known: Input | None) -> Input:
        """A view as Athena keeps it: its statement in the engine's own dialect, in JSON, in base64, in a comment."""
        (statement,) = sqlglot.transpile(view.select, read="duckdb", write="athena")
        typed = [{"name": each.name, "type": _PRESTO_TYPES.get(each.type, each.type.lower())} for each in view.columns]
        told = {"originalSql": statement, "catalog": "awsdatacatalog", "schema": self.database, "columns": typed}
        encoded = base64.b64encode(json.dumps(told).encode()).decode()
        columns = [{"Name": each.name, "Type": hive_type(each.type), "Comment": each.comment} for each in view.columns]
        return {
            "Name": view.name,
            "Description": view.comment,
            "TableType": "VIRTUAL_VIEW",
            "Parameters": {"presto_view": "true", "comment": "Presto View"},
            "PartitionKeys": [],
            "StorageDescriptor": {"Columns": columns, "Location": "", "SerdeInfo": {}},
            "ViewOriginalText": f"/* Presto View: {encoded} */",
            "ViewExpandedText": "/* Presto View */",
        }

    def _has_files(self, table: Table) -> bool:
        listed = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=f"{table.prefix}/", MaxKeys=1)
        return bool(listed["KeyCount"])


class GlueCatalogResource(dg.ConfigurableResource[GlueCatalog]):
    """The catalog of a stack whose lake is in `bucket`."""

    stack: str
    bucket: str

    def create_resource(self, context: dg.InitResourceContext) -> GlueCatalog:
        return GlueCatalog(Stack(self.stack), self.bucket)


def _crawled(known: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [table for name, table in known.items() if name.startswith(CRAWLED)]


def _holds(known: Any, wanted: Any) -> bool:
    """Whether what is there has all that is wanted: Glue adds fields of its own, and leaves out what is empty."""
    if isinstance(wanted, dict):
        there = known or {}
        return all(_holds(there.get(key), value) for key, value in wanted.items())
    return bool((known or None) == (wanted or None))
