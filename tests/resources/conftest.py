from pathlib import Path
from typing import Any

import duckdb
import pytest

from resources.catalog import DuckDBCatalog
from resources.lake import DirectoryLake


@pytest.fixture
def lake(tmp_path: Path) -> DirectoryLake:
    return DirectoryLake(tmp_path / "lake")


@pytest.fixture
def catalog(tmp_path: Path, lake: DirectoryLake) -> DuckDBCatalog:
    return DuckDBCatalog(tmp_path / "catalog.duckdb", lake)


def ask(catalog: DuckDBCatalog, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(catalog.file, read_only=True) as connection:
        return connection.execute(sql).fetchall()
