"""Files by path or URL, such as `s3://bucket/key`, for who does not go through the lake."""

import io
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet

from streaming.edges.parquet import parquet_bytes


def is_remote(path: str) -> bool:
    """Whether it is a URL."""
    return "://" in path


def open_input(path: str) -> io.BufferedReader:
    """A file to read once, from its beginning, as it is."""
    files, there = pyarrow.fs.FileSystem.from_uri(path)
    return io.BufferedReader(files.open_input_stream(there, compression=None))


def open_output(path: str) -> IO[bytes]:
    """A file to write; on S3 it is there when it is closed, and not before."""
    files, there = pyarrow.fs.FileSystem.from_uri(path)
    opened: IO[bytes] = files.open_output_stream(there, compression=None)
    return opened


def read_table(path: str) -> pa.Table:
    """A Parquet file."""
    with open_input(path) as file:
        return pa.parquet.read_table(pa.BufferReader(file.read()))


def write_table(rows: pa.Table, path: str) -> None:
    """Write a Parquet file."""
    with open_output(path) as file:
        file.write(parquet_bytes(rows))


def copied(source: Path, folder: str) -> str:
    """Copy a file, or a folder's files, of this machine to a folder elsewhere; returns that."""
    for file in source.iterdir() if source.is_dir() else [source]:
        with file.open("rb") as content, open_output(f"{folder}/{file.name}") as copy:
            shutil.copyfileobj(content, copy)
    return folder


def local_copy(path: str) -> Path:
    """A file or folder as this machine has it; what lies elsewhere is copied once."""
    if not is_remote(path):
        return Path(path)
    copy = Path(tempfile.gettempdir()) / f"clickstream-{sha256(path.encode()).hexdigest()[:16]}"
    if not copy.exists():
        partial = Path(tempfile.mkdtemp(prefix=f"{copy.name}-"))
        pyarrow.fs.copy_files(path, str(partial))
        try:
            partial.rename(copy)
        except OSError:  # another process was first
            return partial
    return copy
