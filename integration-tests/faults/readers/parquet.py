"""Prints topic,partition,offset,seq of every row below a folder, or in a bucket, as DuckDB or pyarrow reads it.

parquet.py FOLDER
parquet.py s3 HOST:PORT BUCKET/PREFIX
"""
import sys

if sys.argv[1] == "s3":
    import pyarrow.csv
    import pyarrow.dataset
    from pyarrow.fs import FileSelector, FileType, S3FileSystem

    store = S3FileSystem(access_key="test", secret_key="test", endpoint_override=sys.argv[2], scheme="http", region="us-east-1")
    entries = store.get_file_info(FileSelector(sys.argv[3], recursive=True))
    files = [e.path for e in entries if e.type == FileType.File and e.path.endswith(".parquet")]
    table = pyarrow.dataset.dataset(files, filesystem=store, format="parquet").scanner(
        columns=["_topic", "_partition", "_offset", "seq"]
    )
    with pyarrow.csv.CSVWriter(
        sys.stdout.buffer, table.projected_schema, write_options=pyarrow.csv.WriteOptions(include_header=False)
    ) as out:
        for batch in table.to_batches():
            out.write_batch(batch)
else:
    import duckdb

    duckdb.sql("SET enable_progress_bar = false")

    glob = sys.argv[1].replace("'", "''") + "/**/*.parquet"
    duckdb.sql(
        f"COPY (SELECT _topic, _partition, _offset, seq FROM read_parquet('{glob}', hive_partitioning = false)) "
        "TO '/dev/stdout' (FORMAT csv, HEADER false)"
    )
