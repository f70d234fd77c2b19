"""Prints topic,partition,offset,seq of every line of every *.ndjson below a folder, as DuckDB reads it."""
import sys

import duckdb

duckdb.sql("SET enable_progress_bar = false")

glob = sys.argv[1].replace("'", "''") + "/**/*.ndjson"
columns = "{_topic: 'VARCHAR', _partition: 'INTEGER', _offset: 'BIGINT', seq: 'BIGINT'}"
duckdb.sql(
    f"COPY (SELECT _topic, _partition, _offset, seq FROM read_json('{glob}', format = 'newline_delimited', columns = {columns})) "
    "TO '/dev/stdout' (FORMAT csv, HEADER false)"
)
