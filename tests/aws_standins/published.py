"""Tables on S3 and in the Glue Data Catalog, put there by tests as publishing would."""

from collections.abc import Mapping
from datetime import date, datetime
from io import BytesIO

import boto3
import pyarrow as pa
import pyarrow.parquet as pq

from resources.aws.glue.tables import table_input
from streaming.domain.tables import Table

BUCKET = "test-lake"
DATABASE = "clickstream"


def create_bucket() -> None:
    """The lake's bucket and its database, empty."""
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    boto3.client("glue").create_database(DatabaseInput={"Name": DATABASE})


def publish(table: Table, partitions: Mapping[datetime | date | None, pa.Table]) -> None:
    """A table with these partitions, a Parquet file each."""
    s3, glue = boto3.client("s3"), boto3.client("glue")
    described = table_input(table, f"s3://{BUCKET}")
    glue.create_table(DatabaseName=DATABASE, TableInput=described)
    inputs = []
    for number, (key, rows) in enumerate(partitions.items()):
        content = BytesIO()
        pq.write_table(rows, content)
        folder = f"{table.prefix}/attempt-{number}/" if key else f"{table.prefix}/"
        s3.put_object(Bucket=BUCKET, Key=f"{folder}rows.parquet", Body=content.getvalue())
        if key:
            storage = described["StorageDescriptor"] | {"Location": f"s3://{BUCKET}/{folder}"}
            inputs.append({"Values": _values(key), "StorageDescriptor": storage})
    if inputs:
        glue.batch_create_partition(DatabaseName=DATABASE, TableName=table.name, PartitionInputList=inputs)


def _values(key: datetime | date) -> list[str]:
    if isinstance(key, datetime):
        return [f"{key:%Y}", f"{key:%m}", f"{key:%d}", f"{key:%H}"]
    return [key.isoformat()]
