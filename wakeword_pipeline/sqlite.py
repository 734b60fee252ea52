"""Dagster's sqlite storage for a home's instance."""

from pathlib import Path

from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage, SqliteStorageConfig
from dagster._serdes import ConfigurableClassData

from wakeword_pipeline.orchestration.pools import with_pools_in_turn


class SqliteStorage(DagsterSqliteStorage):
    """As Dagster's, but that two processes never get the same slot of a pool."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: SqliteStorageConfig) -> DagsterStorage:
        """What the instance's file names."""
        return with_pools_in_turn(super().from_config_value(inst_data, config_value), Path(config_value["base_dir"]))
