"""Lakes on S3 in an emulator's account: a bucket, and a database of Glue with the tables of the platform."""

from collections.abc import Sequence
from pathlib import Path

from resources.glue_tables import table_input
from resources.s3_lake import S3Lake, open_s3_lake
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
