"""Dagster's PostgreSQL storage for a home's instance; needs dagster-postgres."""

from pathlib import Path
from typing import Any

from dagster import StringSource
from dagster._core.storage.base_storage import DagsterStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from wakeword_pipeline.orchestration.pools import with_pools_in_turn


class PostgresStorage(DagsterPostgresStorage):
    """As Dagster's, but that two processes of a machine never get the same slot of a pool."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """As Dagster's, and the folder in which locks lie."""
        return {**super().config_type(), "base_dir": StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: dict[str, Any]) -> DagsterStorage:
        """What the instance's file names."""
        return with_pools_in_turn(super().from_config_value(inst_data, config_value), Path(config_value["base_dir"]))
