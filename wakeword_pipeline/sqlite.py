"""Dagster's sqlite storage for a home's instance."""

from pathlib import Path
from typing import cast

from dagster._core.storage.sqlite_storage import DagsterSqliteStorage, SqliteStorageConfig
from dagster._serdes import ConfigurableClassData

from wakeword_pipeline.pools import with_pools_in_turn


class SqliteStorage(DagsterSqliteStorage):
    """As Dagster's, but that two processes never get the same slot of a pool."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: SqliteStorageConfig) -> "SqliteStorage":
        """What the instance's file names."""
        storage = super().from_config_value(inst_data, config_value)
        return cast("SqliteStorage", with_pools_in_turn(storage, Path(config_value["base_dir"])))
