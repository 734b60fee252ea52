"""A folder that is handed on: whole or not at all, and nothing of anybody else's is lost."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.export import delivery
from wakeword_core.export.delivery import LIST, deliver
from wakeword_core.files import locked

FACTS = {"target": "onnx", "wake_words": ["robin"]}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"weights")
    return folder


def write(source: Path, out: Path, *, text: str = "read me", facts: dict | None = None, **more) -> list[str]:
    files = {"model.onnx": source / "model.onnx", "README.md": text, **more.pop("files", {})}
    return deliver(files, facts or FACTS, out, apart_from=source, **more)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("there", [False, True])
def test_a_new_or_empty_folder_gets_copies_and_a_list_of_them(source: Path, tmp_path: Path, there: bool) -> None:
    out = tmp_path / "deep" / "out"
    if there:
        out.mkdir(parents=True)
    assert write(source, out) == ["model.onnx", "README.md", LIST]
    assert names(out) == {"model.onnx", "README.md", LIST} and names(out.parent) == {"out"}
    assert (out / "README.md").read_text() == "read me"
    (out / "model.onnx").write_bytes(b"edited")
    assert (source / "model.onnx").read_bytes() == b"weights"
    listed = json.loads((out / LIST).read_text())
    assert listed["target"] == "onnx" and set(listed["files"]) == {"model.onnx", "README.md"}
    assert out.stat().st_mode & 0o777 == tmp_path.joinpath("source").stat().st_mode & 0o777


def test_its_own_folder_is_written_anew_and_what_is_no_more_goes(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(source, out, files={"old.txt": "old"})
    (source / "model.onnx").write_bytes(b"newer")
    write(source, out, text="read this")
    assert names(out) == {"model.onnx", "README.md", LIST}
    assert (out / "model.onnx").read_bytes() == b"newer" and (out / "README.md").read_text() == "read this"


@pytest.mark.parametrize("given_names", [0, 1, 2, 3])
def test_an_export_after_one_that_was_killed_needs_no_force(source: Path, tmp_path: Path, given_names: int) -> None:
    out = tmp_path / "out"
    write(source, out, files={"old.txt": "old"})
    (source / "model.onnx").write_bytes(b"newer")
    killed = f"""
        import os, signal
        from pathlib import Path
        from wakeword_core.export import delivery
        replace, left = Path.replace, [{given_names}]
        def killed(self, target):
            if self.parent.suffix == ".part" and target.parent.suffix != ".part":
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
            return replace(self, target)
        def killed_after(path, ignore_errors):
            os.kill(os.getpid(), signal.SIGKILL)
        Path.replace, delivery.shutil.rmtree = killed, killed_after
        source, out = Path({str(source)!r}), Path({str(out)!r})
        files = {{"model.onnx": source / "model.onnx", "README.md": "read this"}}
        delivery.deliver(files, {FACTS!r}, out, apart_from=source)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(killed)], check=False)
    assert ended.returncode == -signal.SIGKILL and any(name.endswith(".part") for name in names(out))
    write(source, out, text="and this")
    assert names(out) == {"model.onnx", "README.md", LIST}
    assert (out / "model.onnx").read_bytes() == b"newer" and (out / "README.md").read_text() == "and this"


def test_what_another_export_is_writing_and_what_a_person_put_there_stay(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(source, out)
    part = out / f"..{7:012x}.part"
    part.mkdir()
    (part / "precious.txt").write_text("mine")
    with pytest.raises(ConfigError, match="--force"):
        write(source, out)
    (part / "precious.txt").unlink()
    with locked(part), pytest.raises(ConfigError, match="--force"):
        write(source, out)
    assert part.is_dir()
    write(source, out)
    assert not part.exists()


def test_a_file_that_somebody_deleted_is_not_missed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(source, out, files={"old.txt": "old"})
    (out / "old.txt").unlink()
    assert write(source, out) == ["model.onnx", "README.md", LIST] and names(out) == {"model.onnx", "README.md", LIST}


def test_a_list_that_names_a_file_elsewhere_deletes_nothing_there(source: Path, tmp_path: Path) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine"
    mine.write_text("mine")
    write(source, out)
    listed = json.loads((out / LIST).read_text())
    listed["files"]["../mine"] = "0" * 64
    (out / LIST).write_text(json.dumps(listed))
    write(source, out, text="new")
    assert mine.read_text() == "mine" and (out / "README.md").read_text() == "new"


def changed(out: Path) -> None:
    (out / "README.md").write_text("my notes")


def added(out: Path) -> None:
    (out / "secrets.yaml").write_text("wifi")


def linked(out: Path) -> None:
    (out / "README.md").unlink()
    (out / "README.md").symlink_to(out / "model.onnx")


def unlisted(out: Path) -> None:
    (out / LIST).unlink()


def mislisted(out: Path) -> None:
    (out / LIST).write_text('{"files": 3}')


@pytest.mark.parametrize("change", [changed, added, linked, unlisted, mislisted])
def test_a_folder_with_anything_else_is_left_as_it_is(source: Path, tmp_path: Path, change) -> None:
    out = tmp_path / "out"
    write(source, out)
    change(out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ConfigError, match="or write beside it with --force"):
        write(source, out, text="new")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    write(source, out, text="new", force=True)
    assert (out / "README.md").read_text() == "new" and names(out) == {*before, LIST}
    assert (out / "model.onnx").read_bytes() == b"weights"


def test_another_word_is_written_beside_one_only_when_told_to(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(source, out, files={"robin.json": "{}"})
    other = {**FACTS, "wake_words": ["wren"]}
    with pytest.raises(ConfigError, match="which is of something else"):
        write(source, out, facts=other)
    write(source, out, facts=other, force=True)
    assert "robin.json" in names(out)


def test_a_file_cannot_take_the_place_of_the_list(source: Path, tmp_path: Path) -> None:
    with pytest.raises(WakewordError, match="give it another name"):
        write(source, tmp_path / "out", files={LIST: "{}"})
    assert not (tmp_path / "out").exists()


def test_files_of_others_are_not_read(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "film.mkv").touch()
    monkeypatch.setattr(delivery, "hash_file", lambda path: pytest.fail(f"{path} was read"))
    with pytest.raises(ConfigError, match=r"holds 'film\.mkv'"):
        write(source, tmp_path / "out")


def test_a_write_that_fails_leaves_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").touch()
    monkeypatch.setattr(delivery, "write_json", full)
    for out in (tmp_path / "out", tmp_path / "there"):
        with pytest.raises(
            WakewordError, match=r"(out|there) cannot be written \(No space left on device.*another --out"
        ):
            write(source, out, force=True)
    assert names(tmp_path) == {"source", "there"} and names(tmp_path / "there") == {"mine"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_a_sentence(source: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(WakewordError, match=r"cannot be written \(Permission denied"):
        write(source, closed / "out")
    with pytest.raises(WakewordError, match=r"cannot be written \(Permission denied"):
        write(source, closed)


def test_a_place_that_can_hold_no_folder_is_a_sentence(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for out in (tmp_path / "file", tmp_path / "dangling"):
        with pytest.raises(ConfigError, match="is no folder"):
            write(source, out, force=True)
    with pytest.raises(WakewordError, match="cannot be written"):
        write(source, tmp_path / "file" / "out")
    (tmp_path / "same").symlink_to(source)
    for out in (source, tmp_path / "same"):
        with pytest.raises(ConfigError, match="is where the model lies"):
            write(source, out, force=True)
    assert names(source) == {"model.onnx"}
