"""Settings of builds that start by themselves."""

from pydantic import Field

from wakeword_core.config.base import Settings


class AutomationConfig(Settings):
    """Builds that begin by themselves while `wakeword ui` runs; all of it can be switched in the UI as well."""

    rebuild_on_change: bool = Field(False, description="Rebuild what depends on recordings that have changed.")
    check_seconds: int = Field(30, ge=5, le=86_400, description="How often recordings are looked at.")
    quiet_seconds: int = Field(
        60, ge=0, le=86_400, description="So long recordings must not have changed before a build begins."
    )
    nightly: bool = Field(False, description="Build every night what is not fresh, for whatever reason.")
    nightly_cron: str = Field(
        "0 3 * * *",
        pattern=r"^\S+( \S+){4}$",
        description="When: minute, hour, day, month and weekday as in cron.",
    )
