"""A folder to record into, and plans for sittings."""

import pytest
from spoken import RATE

from wakeword_core.studio.checks import Hearing
from wakeword_core.studio.folder import RecordingFolder
from wakeword_core.studio.sitting import Plan


@pytest.fixture(scope="session")
def hearing():
    """What listens to takes, with its model loaded once."""
    return Hearing(0.5, 1.5)


@pytest.fixture
def folder(tmp_path):
    """A folder without recordings."""
    return RecordingFolder(tmp_path / "recordings")


@pytest.fixture
def plan(folder, hearing):
    """The function that makes a plan for a phrase."""

    def make(count=2, negatives=0, room_minutes=0.0, licence="private"):
        return Plan(
            folder=folder,
            phrase="hey robin",
            count=count,
            negatives=negatives,
            room_minutes=room_minutes,
            licence=licence,
            sample_rate=RATE,
            hearing=hearing,
        )

    return make
