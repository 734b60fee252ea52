"""Dagster's PostgreSQL storage for a home's instance; needs dagster-postgres."""

from typing import cast

from dagster._core.storage.config import PostgresStorageConfig
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from wakeword_pipeline.pools import with_slots_in_turn


class PostgresStorage(DagsterPostgresStorage):
    """As Dagster's, but that two processes of a home never get the same slot of a pool."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: PostgresStorageConfig
    ) -> "PostgresStorage":
        """What the instance's file names."""
        return cast("PostgresStorage", with_slots_in_turn(super().from_config_value(inst_data, config_value)))
