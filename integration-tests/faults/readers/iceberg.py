"""Prints topic,partition,offset,seq of every row of an Iceberg table, as pyiceberg reads it.

iceberg.py CATALOG_URI TABLE S3_ENDPOINT WAREHOUSE
"""
import sys

import pyarrow.csv
from pyiceberg.catalog.rest import RestCatalog

catalog = RestCatalog(
    "rest",
    uri=sys.argv[1],
    warehouse=sys.argv[4],
    **{
        "s3.endpoint": sys.argv[3],
        "s3.region": "us-east-1",
        "s3.access-key-id": "test",
        "s3.secret-access-key": "test",
        "s3.path-style-access": "true",
    },
)
rows = catalog.load_table(sys.argv[2]).scan(selected_fields=("_topic", "_partition", "_offset", "seq"))
schema = None
out = None
for batch in rows.to_arrow_batch_reader():
    batch = batch.select(["_topic", "_partition", "_offset", "seq"])
    if out is None:
        options = pyarrow.csv.WriteOptions(include_header=False)
        out = pyarrow.csv.CSVWriter(sys.stdout.buffer, batch.schema, write_options=options)
    out.write_batch(batch)
if out is not None:
    out.close()
