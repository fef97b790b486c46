"""The article's storage comparison: the same events as JSON, as gzipped JSON and as Parquet."""

from datetime import datetime
from pathlib import Path

from resources.lake import Lake, local_paths
from streaming.domain.tables import ENRICHED_LANDING, RAW_EVENTS

_SIZE_FIELD = 4


def compare_storage(hour: datetime, lake: Lake) -> str:
    """A Markdown table of the bytes of an hour's events by format, each with its share of plain JSON."""
    raw = lake.list_hour(RAW_EVENTS.prefix, hour)
    plain = sum(map(_json_bytes, local_paths(raw)))
    sizes = {
        "JSON": plain,
        "JSON, gzip": lake.landed_bytes(RAW_EVENTS.prefix, hour),
        "Parquet, enriched": lake.landed_bytes(ENRICHED_LANDING.prefix, hour),
    }
    rows = [f"| {form} | {size:,} | {size / (plain or 1):.0%} |" for form, size in sizes.items()]
    return "\n".join(["| format | bytes | of JSON |", "|---|---:|---:|", *rows])


def _json_bytes(file: str) -> int:
    """The size of a gzip file's content, which its last four bytes tell."""
    with Path(file).open("rb") as compressed:
        compressed.seek(-_SIZE_FIELD, 2)
        return int.from_bytes(compressed.read(), "little")
