"""Another engine at work on a Delta table: appends rows that no topic has and takes them away, rewrites small files, and
cleans up. The rows of others are the same afterwards.

usage: delta_other_writer.py URI
"""

import sys

import pyarrow
from deltalake import DeltaTable, write_deltalake

uri = sys.argv[1]
schema = pyarrow.schema(DeltaTable(uri).schema().to_arrow())
foreign = {field.name: None for field in schema} | {"_topic": "foreign", "_partition": -1, "_offset": -1, "seq": -1}
rows = pyarrow.Table.from_pylist([foreign] * 3, schema=pyarrow.schema([f.with_nullable(True) for f in schema]))
write_deltalake(uri, rows, mode="append")
for attempt in range(100):
    try:
        DeltaTable(uri).delete("_topic = 'foreign'")
        break
    except Exception as error:  # a commit came in between, and a delete has to look at its rows
        if attempt == 99:
            raise error
DeltaTable(uri).optimize.compact()
# Only what was given up 7 days ago: the files of open windows are younger.
DeltaTable(uri).vacuum(dry_run=False)
