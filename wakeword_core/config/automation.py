"""Settings of builds that start by themselves."""

from pydantic import Field

from wakeword_core.config.base import Settings


class AutomationConfig(Settings):
    """Builds that begin by themselves while `wakeword ui` runs; all of it can be switched in the UI as well."""

    rebuild_on_change: bool = Field(False, description="Rebuild what depends on recordings that have changed.")
    check_seconds: int = Field(30, ge=5, le=86_400, description="Seconds between two looks at the recordings.")
    quiet_seconds: int = Field(
        60, ge=0, le=86_400, description="A build begins when recordings have not changed for so long."
    )
    nightly: bool = Field(False, description="Build everything that is due every night.")
    nightly_cron: str = Field(
        "0 3 * * *",
        pattern=r"^\S+( \S+){4}$",
        description="Time of the nightly build: minute, hour, day, month and weekday, as in cron.",
    )
