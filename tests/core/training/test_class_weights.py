"""Weights of the classes: by count, by label, or refused."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from wakeword_core.config import Config, LossConfig
from wakeword_core.errors import DataError
from wakeword_core.training.losses import class_weights


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    windows = torch.tensor([0] * 70 + [1] * 9 + [2] * 3)
    found = class_weights(LossConfig(class_weights="balanced"), ("_negative", "a", "b"), windows)
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=windows.numpy())
    assert found is not None and found.numpy() == pytest.approx(wanted, rel=1e-6)


def test_weights_are_given_by_label_and_are_1_where_they_are_not() -> None:
    labels = ("_negative", "hey robin", "stop")
    windows = torch.tensor([0, 1, 2])
    found = class_weights(LossConfig(class_weights={"stop": 3, "_negative": 0.5}), labels, windows)
    assert found is not None and found.tolist() == [0.5, 1.0, 3.0]
    assert class_weights(LossConfig(), labels, windows) is None


def test_a_class_without_windows_cannot_be_balanced() -> None:
    with pytest.raises(DataError, match="no window of 'stop'"):
        class_weights(LossConfig(class_weights="balanced"), ("_negative", "hey robin", "stop"), torch.tensor([0, 1, 1]))


@pytest.mark.parametrize("wrong", ["equal", 2, {"stop": 0}, {"stop": -1.0}, {"stop": 1e9}, {"stop": True}, {"a": "b"}])
def test_wrong_class_weights_are_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError, match="must be none, balanced, or a number above 0"):
        LossConfig(class_weights=wrong)


def test_weights_of_classes_that_are_not_there_are_refused() -> None:
    loss = {"class_weights": {"hey robin": 2.0, "_negative": 0.5}}
    assert Config.model_validate({"training": {"loss": loss}}).training.loss.class_weights == loss["class_weights"]
    with pytest.raises(ValidationError, match=r"'hey robin', but the classes are _negative, alexa"):
        Config.model_validate({"phrase": "alexa", "training": {"loss": loss}})
