"""`training.schedule.learning_rate: auto`: the rate is looked for before a training, and kept beside the model."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from wakeword_core.config import Config
from wakeword_core.errors import ArtifactError, reason_of
from wakeword_core.files import as_type, read_json, write_json
from wakeword_core.progress import Progress, silent

if TYPE_CHECKING:
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import WindowSet
    from wakeword_core.models.scoring import ScoringModel
    from wakeword_core.teaching.scores import TeacherScores

log = logging.getLogger(__name__)

RATE_FILE = "learning_rate.json"
"""In a training's artifact: what its range test found."""
_RATE = "training.schedule.learning_rate"


def find_rate_once(
    train: "WindowSet",
    cmvn: "Cmvn",
    config: Config,
    out: Path,
    progress: Progress = silent,
    start_from: "ScoringModel | None" = None,
    teacher: "TeacherScores | None" = None,
) -> Config:
    """Return the configuration with the rate that `wakeword lr-find` suggests, where that is to be found.

    What is found is written to `out`, and read from there when a killed training goes on: its rate stays what it was.
    """
    if config.training.schedule.learning_rate != "auto":
        return config
    if not (out / RATE_FILE).exists():
        from wakeword_core.training.lr_finder import find_rate

        found = find_rate(train, cmvn, config, progress=progress, start_from=start_from, teacher=teacher)
        rate = found.setting(config.training.start_share)
        if found.too_narrow:
            log.warning("%s that was found may not be the best: %s", _RATE, found.too_narrow)
        write_json(out / RATE_FILE, {"learning_rate": rate, "batches": len(found.rates), "diverged": found.diverged})
    return with_found_rate(config, out)


def with_found_rate(config: Config, folder: Path) -> Config:
    """Return the configuration with the rate that was found for the training in `folder`; ArtifactError without one."""
    if config.training.schedule.learning_rate != "auto":
        return config
    try:
        rate = as_type(float, read_json(folder / RATE_FILE)["learning_rate"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{folder / RATE_FILE} does not say which learning rate was found ({reason_of(error)}); train the model "
            "again"
        ) from error
    log.info("the learning rate that was found is %g", rate)
    return config.changed({_RATE: rate})
