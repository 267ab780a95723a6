"""A query of Spark over sources of Headrace, run by Spark's own interpreter: argument 1 is a JSON list of queries.

Each has `options` of the data source, a `checkpoint` and a `rows` directory. What is there is landed, then all end.
"""

import json
import os
import sys

from pyspark.sql import SparkSession  # type: ignore[import-not-found]

from headrace.sources.spark import HeadraceDataSource

os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
session = (
    SparkSession.builder.master("local[2]")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.sql.session.timeZone", "UTC")
    .getOrCreate()
)
session.dataSource.register(HeadraceDataSource)
started = [
    session.readStream.format("headrace")
    .options(**query["options"])
    .load()
    .writeStream.format("parquet")
    .option("checkpointLocation", query["checkpoint"])
    .start(query["rows"])
    for query in json.loads(sys.argv[1])
]
for query in started:
    query.processAllAvailable()
    query.stop()
session.stop()
