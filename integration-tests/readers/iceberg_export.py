"""Reads an Iceberg table as pyiceberg does, and writes what it sees into one Parquet file.

iceberg_export.py CATALOG_URI TABLE OUT [S3_ENDPOINT KEY SECRET]

Prints the partition fields and some counts, as `name value` lines.
"""
import sys

import pyarrow.parquet as pq
from pyiceberg.catalog.rest import RestCatalog

uri, name, out = sys.argv[1:4]
properties = {}
if len(sys.argv) > 4:
    properties = {
        "s3.endpoint": sys.argv[4],
        "s3.region": "us-east-1",
        "s3.access-key-id": sys.argv[5],
        "s3.secret-access-key": sys.argv[6],
        "s3.path-style-access": "true",
    }
table = RestCatalog("rest", uri=uri, **properties).load_table(name)
rows = table.scan().to_arrow()
pq.write_table(rows, out)

files = table.inspect.files()
print("spec", ",".join(f"{f.transform}({table.schema().find_column_name(f.source_id)})" for f in table.spec().fields))
print("snapshots", len(table.snapshots()))
print("manifests", table.inspect.manifests().num_rows)
print("files", files.num_rows)
print("rows", rows.num_rows)
print("recorded", sum(files["record_count"].to_pylist()))
