"""Metadata that people look at in the Dagster UI: column schemas, sizes, time ranges, previews, small charts."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq

from resources.lake import File
from streaming.domain.tables import Table

Metadata = dict[str, Any]

PREVIEW_ROWS = 5
_BARS = "▁▂▃▄▅▆▇█"
_LONGEST_CELL = 60
# What a client sent must not become a link, or an image that a browser fetches from elsewhere.
_MARKDOWN = re.compile(r"[!-/:-@\[-`{-~]")


def table_metadata(table: Table) -> Metadata:
    """What does not change from partition to partition: the declared columns, the table's grain, an example query."""
    columns = [
        dg.TableColumn(each.name, each.type, each.description, tags={"unit": each.unit} if each.unit else None)
        for each in table.columns
    ]
    return {
        "dagster/column_schema": dg.TableSchema(columns),
        "about": table.description,
        "grain": table.grain,
        "prefix": table.prefix,
        "example": dg.MetadataValue.md(f"```sql\n{table.example}\n```"),
    }


def parquet_metadata(file: File, time_column: str) -> Metadata:
    """Rows, bytes, time range and preview of a Parquet partition."""
    metadata = pq.read_metadata(file)
    return {
        "dagster/row_count": metadata.num_rows,
        "bytes": Path(file).stat().st_size,
        **_time_range(metadata, time_column),
        "preview": parquet_preview(file),
    }


def parquet_preview(file: File) -> dg.MarkdownMetadataValue:
    """The first rows of a Parquet file as a Markdown table."""
    first = next(pq.ParquetFile(file).iter_batches(PREVIEW_ROWS), None)
    return preview(first.to_pylist() if first else [])


def csv_metadata(file: File, rows: int) -> Metadata:
    """Rows, bytes and preview of an unloaded CSV partition."""
    with Path(file).open() as lines:
        head = [line.rstrip("\n").split("|") for line, _ in zip(lines, range(PREVIEW_ROWS + 1), strict=False)]
    return {
        "dagster/row_count": rows,
        "bytes": Path(file).stat().st_size,
        "file": dg.MetadataValue.path(Path(file)),
        "preview": preview([dict(zip(head[0], row, strict=False)) for row in head[1:]]),
    }


def preview(rows: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """Rows as a Markdown table; long cells are cut."""
    if not rows:
        return dg.MetadataValue.md("no rows")
    rule = f"|{' --- |' * len(rows[0])}"
    return dg.MetadataValue.md("\n".join([_line(rows[0]), rule, *(_line(row.values()) for row in rows[:PREVIEW_ROWS])]))


def spark_bars(counts: Sequence[int]) -> str:
    """Counts as a row of bars, `▁▃█`, on a logarithmic scale: late events are few beside those of the hour itself."""
    highest = math.log1p(max(counts, default=0)) or 1
    return "".join(_BARS[round(math.log1p(count) / highest * (len(_BARS) - 1))] for count in counts)


def _line(cells: Any) -> str:
    shown = (_MARKDOWN.sub(r"\\\g<0>", " ".join(_text(cell)[:_LONGEST_CELL].split())) for cell in cells)
    return f"| {' | '.join(shown)} |"


def _text(cell: Any) -> str:
    if isinstance(cell, dict | list):
        return json.dumps(cell, default=str)
    return "" if cell is None else str(cell)


def _time_range(metadata: pq.FileMetaData, column: str) -> Metadata:
    names = [metadata.schema.column(index).path for index in range(len(metadata.schema))]
    position = names.index(column)
    groups = (metadata.row_group(group).column(position).statistics for group in range(metadata.num_row_groups))
    ranges = [(each.min, each.max) for each in groups if each and each.has_min_max]
    if not ranges:
        return {}
    return {"from": f"{min(low for low, _ in ranges)}", "to": f"{max(high for _, high in ranges)}"}
