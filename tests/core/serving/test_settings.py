"""Settings of serving: what is refused, and that they decide nothing else."""

import pytest
from pydantic import ValidationError

from wakeword_core.config import Config, ServingConfig
from wakeword_core.graph.stages import STAGES


def test_serving_is_in_no_artifacts_key() -> None:
    plain = Config()
    changed = Config.model_validate(
        {"serving": {"port": 1, "max_seconds": 9.0, "cascade": {"judge": "/judge", "combine": "least"}}}
    )
    for stage in STAGES:
        for split in stage.splits:
            assert stage.deciding_settings(plain, split) == stage.deciding_settings(changed, split), stage.name


@pytest.mark.parametrize(
    "wrong",
    [{"port": 65_536}, {"queue_length": 0}, {"max_bytes": 0}, {"token_variable": "a b"}, {"host": ""},
     {"allowed_origins": ["https://a.example/"]}, {"allowed_origins": ["*"]}, {"cascade": {"combine": "most"}},
     {"cascade": {"judge_threshold": 1.1}}],
)  # fmt: skip
def test_wrong_settings(wrong) -> None:
    with pytest.raises(ValidationError):
        ServingConfig.model_validate(wrong)
