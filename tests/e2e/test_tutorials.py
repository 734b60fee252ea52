"""A tutorial from top to bottom, on a small synthetic set."""

import shutil
from dataclasses import replace

import pytest
from tutorials import TUTORIALS, typed

pytestmark = pytest.mark.slow


def test_a_speaker_is_forgotten_as_the_tutorial_says(built, tmp_path) -> None:
    """In a home of its own, which begins with what another one built."""
    home = replace(built, folder=tmp_path / "project")
    shutil.copytree(built.folder / "recordings", home.folder / "recordings")
    shutil.copy(built.folder / "wakeword.yaml", home.folder)
    shutil.copytree(built.path / "store", home.path / "store")
    tutorial = next(path for path in TUTORIALS if path.stem == "forget")
    speaker, printed = "kitchen/person03", []
    for program, *arguments in typed(tutorial):
        if program == "wakeword":
            printed.append(home.wakeword(*(speaker if word == "family/anna" else word for word in arguments)))
    before, forgotten, purged, after, state = printed
    assert speaker in before and speaker not in after
    assert "is forgotten: no build" in forgotten
    assert "none of them holds it" in purged
    assert "fresh" in state and "builds what is stale or missing" not in state
