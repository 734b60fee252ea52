"""What starts a build by itself: nothing until it is switched on in the UI."""

import dagster as dg

OBSERVE_EVERY = "*/5 * * * *"
NIGHTLY = "0 3 * * *"


def on_change() -> dg.AutomationCondition:
    """Build when something upstream has another data version; `eager` would also build when nothing changed."""
    condition = dg.AutomationCondition
    return (
        condition.eager()
        .replace("newly_updated", condition.data_version_changed())
        .replace("newly_missing", condition.newly_missing() | condition.code_version_changed())
        .with_label("when an input's content changes")
    )


rebuild_on_change = dg.AutomationConditionSensorDefinition(
    "rebuild_on_change",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Rebuilds what depends on changed recordings, and nothing else.",
)

observe_job = dg.define_asset_job(
    "observe_raw_audio", selection=["raw_audio"], description="Looks whether the recordings changed."
)
observe_often = dg.ScheduleDefinition(
    name="observe_often", job=observe_job, cron_schedule=OBSERVE_EVERY, default_status=dg.DefaultScheduleStatus.STOPPED
)
observe_nightly = dg.ScheduleDefinition(
    name="observe_nightly", job=observe_job, cron_schedule=NIGHTLY, default_status=dg.DefaultScheduleStatus.STOPPED
)
