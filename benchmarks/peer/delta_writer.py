"""The peer of the benchmark `commit`: batches into a Delta table, as a Python reader of a topic would write them.

Takes the Arrow IPC streams of a folder in the order of their names, so many a commit, and appends them to a table. Prints
the seconds from the first read to the last commit.
"""

import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc as ipc
from deltalake import WriterProperties, write_deltalake


def main(batches: str, table: str, per_commit: int) -> None:
    files = sorted(Path(batches).iterdir())
    properties = WriterProperties(compression="ZSTD")
    started = time.monotonic()
    for n in range(0, len(files), per_commit):
        read = [ipc.open_stream(file.read_bytes()).read_all() for file in files[n : n + per_commit]]
        write_deltalake(table, pa.concat_tables(read), mode="append", writer_properties=properties)
    print(time.monotonic() - started)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
