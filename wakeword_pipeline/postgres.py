"""Addresses of PostgreSQL databases, which variables of the environment hold: they may have a password in them."""

import importlib.util
import os
import re

from wakeword_core.errors import ConfigError
from wakeword_core.python import install_command


def postgres_address(variable: str) -> str:
    """Return the address of the database that a variable names, with the driver to use; empty where it is not set."""
    address = os.environ.get(variable, "")
    if address and importlib.util.find_spec("dagster_postgres") is None:
        raise ConfigError(f"{variable} is set, but dagster-postgres is missing: {install_command('postgres')}")
    # SQLAlchemy would take another driver than dagster-postgres brings along
    return re.sub("^postgres(ql)?://", "postgresql+psycopg2://", address)
