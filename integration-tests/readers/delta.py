"""Reads a Delta table as its users do, with the Python package deltalake.

usage: delta.py URI OUT [KEY=VALUE ...]

Writes all rows to the Parquet file OUT, and prints what the table says of itself as JSON: version, partition columns,
schema, numbers of rows and files, the operations of its history. KEY=VALUE are storage options.
"""

import json
import sys

import pyarrow.parquet as parquet
from deltalake import DeltaTable

uri, out = sys.argv[1:3]
options = dict(argument.split("=", 1) for argument in sys.argv[3:])
table = DeltaTable(uri, storage_options=options or None)
rows = table.to_pyarrow_table()
parquet.write_table(rows, out)
print(
    json.dumps(
        {
            "version": table.version(),
            "partition_columns": table.metadata().partition_columns,
            "fields": {field.name: str(field.type) for field in rows.schema},
            "rows": rows.num_rows,
            "files": len(table.file_uris()),
            "operations": sorted({commit["operation"] for commit in table.history()}),
        }
    )
)
