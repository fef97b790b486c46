"""Hours of arrival as delivery leaves them in the landing: raw copies, enriched rows and errors, in files of a flush.

Of the records one in fifty is an event that was sent before, half of these an hour later; one in fifty was delivered
twice; one in two hundred breaks the contract. Same numbers, same rows, in any process.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from bench.flatten import EVENTS
from resources.lake import DirectoryLake
from resources.warehouse import connect
from streaming.domain.layout import failed_prefix, hour_prefix
from streaming.domain.tables import ENRICHED_LANDING, RAW_EVENTS
from streaming.edges.lake import gzip_bytes
from streaming.edges.parquet import arrow_schema, parquet_bytes

SHARDS = 4
# A buffer of 3 MB holds so many.
FILE_RECORDS = 9_000
HOUR = timedelta(hours=1)

# What arrives in an hour: its own events, and late copies of those of the hour before.
_ARRIVED = f"""
CREATE OR REPLACE TEMP TABLE arrived AS
SELECT
  a.*,
  hash(a.user_id) % {SHARDS} AS shard,
  CAST((ROW_NUMBER() OVER (PARTITION BY hash(a.user_id) % {SHARDS} ORDER BY a.arrival_timestamp, a.record_id) - 1)
    // {FILE_RECORDS} AS BIGINT) AS flush,
  hash(a.record_id, 'again') % 50 = 0 AS is_delivered_twice,
  hash(a.record_id, 'bad') % 200 = 0 AS is_bad
FROM (
  SELECT * FROM ({EVENTS}) WHERE arrival_timestamp >= ? AND arrival_timestamp < ?
  UNION ALL
  SELECT * FROM ({EVENTS}) WHERE arrival_timestamp >= ? AND arrival_timestamp < ?
) a
"""  # noqa: S608  constants of this file
_FLUSH = "(SELECT * FROM arrived WHERE shard = ? AND (flush = ? OR is_delivered_twice AND flush = ? - 1))"
_WIRE = """{
  record_id: f.record_id,
  arrival_timestamp: strftime(f.arrival_timestamp, '%Y-%m-%dT%H:%M:%S.%fZ'),
  client_ip: CAST(NULL AS VARCHAR),
  event: {
    timestamp: strftime(f.timestamp, '%Y-%m-%d %H:%M:%S.%f'), user_id: f.user_id, pixel_id: f.pixel_id,
    click_id: f.click_id, insertion_timestamp: strftime(f.insertion_timestamp, '%Y-%m-%d %H:%M:%S.%f'),
    event_name: f.event_name, user_ip: f.user_ip,
    additional_data: {
      time_on_data: f.additional_data.time_on_data,
      percent_viewed: CASE WHEN f.is_bad THEN 999 ELSE f.additional_data.percent_viewed END,
      product_id: f.additional_data.product_id, price: f.additional_data.price
    }
  }
}"""
_RAW = f"SELECT to_json({_WIRE}) AS line FROM {_FLUSH} f"  # noqa: S608
_ENRICHED = (
    f"SELECT {', '.join(f'f.{name}' for name in ENRICHED_LANDING.column_names)} FROM {_FLUSH} f WHERE NOT is_bad"  # noqa: S608
)
_ERRORS = f"""
SELECT to_json({{
  "attemptsMade": 1, "arrivalTimestamp": epoch_ms(f.arrival_timestamp),
  "errorCode": 'Lambda.ProcessingFailedStatus', "errorMessage": 'the function could not process the record',
  "attemptEndingTimestamp": epoch_ms(f.arrival_timestamp),
  "rawData": base64(encode(CAST(to_json({_WIRE}) AS VARCHAR) || chr(10))), "lambdaArn": ''
}}) AS line
FROM {_FLUSH} f WHERE f.is_bad
"""  # noqa: S608


def land(lake: DirectoryLake, hours: Sequence[datetime], events: int, memory_limit_bytes: int) -> None:
    """Land so many events, spread evenly over these hours in a row, and their late copies in the hour after."""
    with connect(config={"memory_limit": f"{memory_limit_bytes}B"}) as connection:
        for hour in [*hours, hours[-1] + HOUR]:
            parameters: list[Any] = []
            for source in (hour - HOUR, hour):
                first = (source - hours[0]) // HOUR * (events // len(hours))
                past = first + events // len(hours) if source in hours else first
                parameters += [_naive(source), first, past, _naive(hour), _naive(hour + HOUR)]
            connection.execute(_ARRIVED, parameters)
            for shard, flush in connection.execute(
                "SELECT DISTINCT shard, flush FROM arrived ORDER BY 1, 2"
            ).fetchall():
                _land_flush(connection, lake, hour, shard, flush)


def _land_flush(
    connection: duckdb.DuckDBPyConnection, lake: DirectoryLake, hour: datetime, shard: int, flush: int
) -> None:
    """The files of one flush, by what delivery writes them with."""

    def select(statement: str) -> pa.Table:
        return connection.execute(statement, [shard, flush, flush]).to_arrow_table()

    first = flush * FILE_RECORDS
    name = f"shardId-{shard:012d}-{_number(hour, first)}-{_number(hour, first + FILE_RECORDS - 1)}"
    for prefix, statement in ((RAW_EVENTS.prefix, _RAW), (failed_prefix("enrichment"), _ERRORS)):
        lines = "\n".join([*select(statement)["line"].to_pylist(), ""])
        lake.publish(f"{hour_prefix(prefix, hour)}/{name}.json.gz", gzip_bytes(lines.encode()))
    rows = select(_ENRICHED).cast(arrow_schema(ENRICHED_LANDING))
    lake.publish(f"{hour_prefix(ENRICHED_LANDING.prefix, hour)}/{name}.parquet", parquet_bytes(rows))


def _number(hour: datetime, ordinal: int) -> str:
    return f"{round(hour.timestamp() * 1000):013d}-{ordinal:012d}"


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
