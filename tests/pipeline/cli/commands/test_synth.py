"""Recordings that are made of a text, to be kept or to be heard at once."""

from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from wakeword_core.runtime import microphone
from wakeword_pipeline.cli.commands import synth
from wakeword_pipeline.cli.main import app

pytest.importorskip("espeakng_loader", reason="needs the speech extra")


def command(*arguments: str) -> str:
    """What `wakeword synth` prints."""
    done = CliRunner().invoke(app, ["synth", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_synth_makes_recordings(tmp_path: Path) -> None:
    command("hello house", "--out", str(tmp_path / "out"), "--count", "3")
    found = sorted((tmp_path / "out").rglob("*.flac"))
    assert len(found) == 3 and all(soundfile.info(path).samplerate == 16_000 for path in found)


def test_synth_says_the_first_one_and_how(tmp_path: Path, monkeypatch) -> None:
    played = []
    monkeypatch.setattr(synth, "play", lambda samples, rate: played.append((len(samples), rate)))
    monkeypatch.chdir(tmp_path)
    assert "hˈeɪ" in command("hey robin", "--say")
    assert len(played) == 1 and played[0][1] == 16_000 and not list(tmp_path.iterdir())
    # without a loudspeaker there is a file, and it says where
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)

    def without(what: str) -> None:
        raise microphone.MissingDependencyError(f"{what} needs sounddevice")

    monkeypatch.setattr("wakeword_core.runtime.loudspeaker.portaudio", without)
    said = command("小智", "--say", "--ipa", "ʃaʊ ˈdʒɪ")
    (path,) = tmp_path.iterdir()
    assert "ʃaʊ dʒˈɪ" in said and path.name in said and path.suffix == ".flac"
    (tmp_path / "config.yaml").write_text("synthesis: {pronunciations: {hello: [ola, alo]}, people_share: 0}\n")
    said = command("hello", "--say", "--config", "config.yaml", "--out", "there")
    assert ("ola" in said or "alo" in said) and len(list((tmp_path / "there").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["hey"], 2, "--out"),
        (["hey", "--say", "--ipa", "h%"], 1, "'%'"),
        (["hey", "--say", "--set", "synthesis.accents=[klingon]"], 2, "synthesis.accents"),
        (["hey", "--say", "--set", "synthesis.people=[robot]"], 2, "synthesis.people"),
    ],
)
def test_synth_says_what_is_wrong(monkeypatch, failing, tmp_path: Path, arguments, status, said) -> None:
    monkeypatch.chdir(tmp_path)
    code, message = failing("synth", *arguments)
    assert code == status and said in message and len(message.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
