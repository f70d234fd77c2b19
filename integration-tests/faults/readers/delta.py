"""Prints topic,partition,offset,seq of every row of a Delta table, as Python's deltalake reads it.

delta.py URI [ENDPOINT]
"""
import sys

import pyarrow.csv
from deltalake import DeltaTable

options = {}
if len(sys.argv) > 2:
    options = {
        "AWS_ENDPOINT_URL": sys.argv[2],
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ALLOW_HTTP": "true",
    }
rows = DeltaTable(sys.argv[1], storage_options=options).to_pyarrow_dataset().scanner(
    columns=["_topic", "_partition", "_offset", "seq"]
)
with pyarrow.csv.CSVWriter(
    sys.stdout.buffer, rows.projected_schema, write_options=pyarrow.csv.WriteOptions(include_header=False)
) as out:
    for batch in rows.to_batches():
        out.write_batch(batch)
