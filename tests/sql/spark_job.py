"""A job of Spark's: runs statements over Parquet files, and writes each answer as Parquet.

Takes the lake's folder and a JSON file, a list of
{"statement": SQL, "parameters": […], "sources": {table: [files]}, "answer": folder}.
"""

import json
import sys
from pathlib import Path

from pyspark.sql import SparkSession


def main() -> None:
    lake, queries = sys.argv[1:]
    spark = SparkSession.builder.getOrCreate()
    for query in json.loads(Path(queries).read_text()):
        for table, files in query["sources"].items():
            spark.read.option("basePath", lake).parquet(*files).createOrReplaceTempView(table)
        spark.sql(query["statement"], args=query["parameters"]).write.parquet(query["answer"])
    spark.stop()


main()
