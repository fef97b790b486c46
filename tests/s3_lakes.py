"""Lakes on S3 in an emulator's account: a bucket, and a database of Glue with the tables of the platform."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from resources.aws.glue.tables import table_input
from resources.aws.s3.lake import S3Lake, open_s3_lake
from streaming.domain.layout import hour_prefix
from streaming.domain.stack import Stack
from streaming.domain.tables import TABLES, Table
from streaming.edges.aws import client

BUCKET = "clickstream-lake"
STACK = Stack("clickstream")


def make_s3_lake(folder: Path, tables: Sequence[Table] = tuple(TABLES.values()), copies_bytes: int = 1 << 30) -> S3Lake:
    """An empty lake, in the account that clients find."""
    client("s3").create_bucket(Bucket=BUCKET)
    glue = client("glue")
    glue.create_database(DatabaseInput={"Name": STACK.database})
    for table in tables:
        glue.create_table(DatabaseName=STACK.database, TableInput=table_input(table, f"s3://{BUCKET}"))
    return open_s3_lake(BUCKET, STACK.database, folder, copies_bytes)


def keys(prefix: str = "") -> list[str]:
    """All keys of the bucket below a prefix."""
    pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [each["Key"] for page in pages for each in page.get("Contents", ())]


def firehose_name(begun: datetime, number: int = 1, ending: str = "") -> str:
    """What Firehose calls a file whose oldest record it got at a moment."""
    return f"clickstream-events-1-{begun:%Y-%m-%d-%H-%M-%S}-{number:08x}-0000-4000-8000-000000000000{ending}"


def deliver(prefix: str, begun: datetime, delivered: datetime, data: bytes, number: int = 1, ending: str = "") -> str:
    """Put a file where Firehose does, dated by S3 as of its delivery; returns its key."""
    key = f"{hour_prefix(prefix, begun)}/{firehose_name(begun, number, ending)}"
    client("s3").put_object(Bucket=BUCKET, Key=key, Body=data)
    date_object(key, delivered)
    return key


def date_object(key: str, modified: datetime) -> None:
    """Have the emulator say that an object was stored at a moment."""
    (stored,) = (found for found in s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[BUCKET].keys.getlist(key)[-1:])
    stored.last_modified = modified.replace(tzinfo=None)
