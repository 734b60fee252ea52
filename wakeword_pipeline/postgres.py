"""Dagster's PostgreSQL storage for a home's instance; needs dagster-postgres."""

from pathlib import Path
from typing import Any, cast

from dagster import StringSource
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.config import PostgresStorageConfig
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from wakeword_pipeline.pools import with_pools_in_turn


class PostgresStorage(DagsterPostgresStorage):
    """As Dagster's, but that two processes of a machine never get the same slot of a pool."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """As Dagster's, and the folder in which locks lie."""
        return {**cast(dict[str, Any], super().config_type()), "base_dir": StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: PostgresStorageConfig
    ) -> "PostgresStorage":
        """What the instance's file names."""
        settings = cast(dict[str, Any], dict(config_value))
        folder = Path(settings.pop("base_dir"))
        storage = super().from_config_value(inst_data, cast(PostgresStorageConfig, settings))
        return cast("PostgresStorage", with_pools_in_turn(storage, folder))
