"""Durable append: our segment file against SQLite, RocksDB and LMDB, with the disk's own limit beside them.

Every batch is on disk before the next one starts. Rounds are interleaved, so that a disk whose speed changes
treats all alike; medians are printed, with ratios to SQLite. Read the numbers as ratios.
"""

import argparse
import os
import shutil
import sqlite3
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import lmdb
import rocksdict

RECORD = os.urandom(1024)
Append = Callable[[list[bytes]], None]


def raw(directory: Path) -> Append:
    """The limit: the bytes alone, no frame and no checksum."""
    fd = os.open(directory / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append(batch: list[bytes]) -> None:
        os.writev(fd, batch)
        os.fdatasync(fd)

    return append


def segment(directory: Path) -> Append:
    """One checksummed frame a batch: length, CRC-32C, then the records with their lengths."""
    fd = os.open(directory / "segment", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append(batch: list[bytes]) -> None:
        body = struct.pack(f"<{len(batch)}I", *map(len, batch)) + b"".join(batch)
        os.writev(fd, [struct.pack("<II", len(body), google_crc32c.value(body)), body])
        os.fdatasync(fd)

    return append


def sqlite(directory: Path) -> Append:
    connection = sqlite3.connect(directory / "log.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, record BLOB)")

    def append(batch: list[bytes]) -> None:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO log (record) VALUES (?)", ((r,) for r in batch))
        connection.execute("COMMIT")

    return append


def rocks(directory: Path) -> Append:
    database = rocksdict.Rdict(str(directory / "rocks"), rocksdict.Options(raw_mode=True))
    options = rocksdict.WriteOptions()
    options.sync = True
    position = 0

    def append(batch: list[bytes]) -> None:
        nonlocal position
        write = rocksdict.WriteBatch(raw_mode=True)
        for record in batch:
            write.put(position.to_bytes(8, "big"), record)
            position += 1
        database.write(write, options)

    return append


def lightning(directory: Path) -> Append:
    environment = lmdb.open(str(directory / "lmdb"), map_size=8 << 30)
    position = 0

    def append(batch: list[bytes]) -> None:
        nonlocal position
        with environment.begin(write=True) as transaction:
            for record in batch:
                transaction.put(position.to_bytes(8, "big"), record, append=True)
                position += 1

    return append


LOGS: dict[str, Callable[[Path], Append]] = {
    "write + fdatasync alone": raw,
    "segment file": segment,
    "SQLite WAL, FULL": sqlite,
    "RocksDB, sync": rocks,
    "LMDB, sync": lightning,
}


def rate(append: Append, size: int, seconds: float) -> float:
    """Records a second that are durable, over batches of `size`."""
    batch = [RECORD] * size
    started = time.perf_counter()
    done = 0
    while (elapsed := time.perf_counter() - started) < seconds:
        append(batch)
        done += size
    return done / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument(
        "--directory", type=Path, default=Path("build"), help="on the disk to measure"
    )
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="bench-log-", dir=options.directory))
    sizes = (1, 100, 1000)
    found: dict[tuple[str, int], list[float]] = {}
    try:
        for number in range(options.rounds):
            for size in sizes:
                for name, make in LOGS.items():
                    directory = place / f"{number}-{size}-{len(name)}-{name[:3]}"
                    directory.mkdir()
                    found.setdefault((name, size), []).append(
                        rate(make(directory), size, options.seconds)
                    )
                    shutil.rmtree(directory, ignore_errors=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print("| durable records/s, 1 KB each | batch 1 | batch 100 | batch 1,000 |")
    print("|---|---|---|---|")
    for name in LOGS:
        cells = []
        for size in sizes:
            middle = statistics.median(found[name, size])
            ratio = middle / statistics.median(found["SQLite WAL, FULL", size])
            cells.append(f"{middle:,.0f} ({ratio:.1f}×)")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
