"""Tables as pandas frames, for notebooks and scripts. Knows no Dagster, so it is imported in no time.

from clickstream_assets.tables import read_table

purchases = read_table("flattened_events", ["user_id", "price"], where="event_name = 'Purchase'", since="2026-11-01")
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from difflib import get_close_matches

import duckdb
import pandas as pd
import pyarrow as pa

from streaming.settings import load_settings

Moment = str | date | datetime

# The columns that a table is partitioned by, and a moment's values for them.
_HOURS = ("(year, month, day, hour)", "(%Y, %m, %d, %H)")
_DAYS = ("date", "DATE '%Y-%m-%d'")
# Of integers of which some are missing pandas would make floats.
_INTEGERS = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}


class TableError(LookupError):
    """There is no such table, column or partition; the message says what there is, or how to get there."""


def read_table(
    name: str,
    columns: Sequence[str] | None = None,
    *,
    where: str = "",
    parameters: Sequence[object] = (),
    since: Moment | None = None,
    until: Moment | None = None,
) -> pd.DataFrame:
    """A table of the catalog, whole or in part, as a frame in memory.

    Timestamps and dates are `datetime64` of UTC without a zone, integers `Int64` where some are missing, too, text is
    `str`. Decimals are the nearest floats: pandas rounds the mean of decimals to cents, and cannot describe them. Sums
    to the cent are SQL's, and the aggregates have them.

    Args:
        columns: those to read, in this order; all when not given. Each takes memory, so name what you need.
        where: a condition of SQL, with a `?` for each of `parameters`.
        since, until: read the partitions, which are hours or days of UTC, that overlap [since, until), and no
            other. A moment is text in ISO 8601, a date or a datetime; without a zone it is UTC.

    Raises:
        TableError: there is no such table or column, none is partitioned by time as asked, or the home has no tables.
        duckdb.Error: `where` is no condition on this table.
    """
    file = load_settings().home / "catalog.duckdb"
    if not file.exists():
        raise TableError(f"{file.parent} has no tables yet: `./run demo` makes some, `./run up` takes in your own")
    with duckdb.connect(file, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        tables = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY 1").fetchall()
        _check("table", [name], [table for (table,) in tables])
        table = connection.table(name)
        known = table.columns
        chosen = known if columns is None else columns
        _check(f"column of {name}", chosen, known)
        decimals = {column for column, type_ in zip(known, table.types, strict=True) if type_.id == "decimal"}
        # Arrow's own conversion is not to the nearest.
        selected = ", ".join(
            f'CAST("{each}" AS DOUBLE) AS "{each}"' if each in decimals else f'"{each}"' for each in chosen
        )
        conditions = [*_in_time(name, known, since, until), f"({where or 'true'})"]
        statement = f'SELECT {selected} FROM "{name}" WHERE {" AND ".join(conditions)}'  # noqa: S608  the caller's SQL
        rows = connection.execute(statement, parameters).to_arrow_table()
    frame: pd.DataFrame = rows.to_pandas(types_mapper=_INTEGERS.get, date_as_object=False)
    return frame


def _check(what: str, wanted: Iterable[str], known: Sequence[str]) -> None:
    for name in wanted:
        if name not in known:
            nearest = "".join(f", did you mean {each}?" for each in get_close_matches(name, known, n=1))
            raise TableError(f"there is no {what} named {name!r}{nearest or ';'} there are {', '.join(known)}")


def _in_time(name: str, columns: Sequence[str], since: Moment | None, until: Moment | None) -> Iterator[str]:
    """Conditions on the partition's columns alone: they decide which files are opened."""
    if since is None and until is None:
        return
    if "year" not in columns and "date" not in columns:
        raise TableError(f"{name} is not partitioned by time; choose its rows with `where`")
    key, values = _HOURS if "year" in columns else _DAYS
    if since is not None:
        yield f"{key} >= {_utc(since):{values}}"
    if until is not None:
        yield f"{key} <= {_utc(until) - pd.Timedelta(1, 'us'):{values}}"


def _utc(moment: Moment) -> pd.Timestamp:
    timestamp = pd.Timestamp(moment)
    return timestamp if timestamp.tz is None else timestamp.tz_convert("UTC").tz_localize(None)
