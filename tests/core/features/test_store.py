"""A file of features may come from anybody: nothing outside of it is read, and whatever is wrong is one sentence."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from wakeword_core.errors import ArtifactError
from wakeword_core.features.store import COLUMNS, MEL, PARTS_FOLDER, FeatureFile, write_part, write_split
from wakeword_core.lineage.forgetting import held_recording_ids

ROWS = 3
IDS = "recording_ids"
SETTINGS = {"labels_json": '["a"]', "config_json": "{}"}


def write(folder: Path) -> Path:
    """A split of two parts; its file."""
    parts = [folder / PARTS_FOLDER / f"0000{number}.h5" for number in range(2)]
    columns = {name: np.zeros(ROWS, dtype) for name, dtype in COLUMNS.items()}
    columns[IDS] = np.array([character * 64 for character in "abc"], "S64")
    for part in parts:
        write_part(part, ROWS, [np.ones((ROWS, 4, 5), np.float16)], columns, SETTINGS)
    write_split(folder / "train.h5", parts, SETTINGS)
    return folder / "train.h5"


@pytest.fixture
def split(tmp_path: Path) -> Path:
    return write(tmp_path / "features")


@pytest.fixture
def part(split: Path) -> Path:
    return split.parent / PARTS_FOLDER / "00001.h5"


def test_what_is_whole_is_read(split: Path, part: Path) -> None:
    file = FeatureFile(split.parent)
    assert (len(file), file.labels, file.shape[1:]) == (2 * ROWS, ["a"], (1, 1, 4, 5))
    assert held_recording_ids(part) == {character * 64 for character in "abc"} and held_recording_ids(split) is None


def elsewhere(path: Path) -> Path:
    """A file outside that would be read as if it were ours."""
    other = path.parents[2] / "other.h5"
    if not other.exists():
        shutil.copyfile(path.parent / "00000.h5" if path.parent.name == PARTS_FOLDER else path, other)
    return other


def vlen(path: Path, file: h5py.File) -> None:
    file.create_dataset(IDS, data=["a" * 64] * ROWS, dtype=h5py.string_dtype())


DAMAGES: dict[str, Callable[[Path, h5py.File], object]] = {
    "missing": lambda path, file: None,
    "external link": lambda path, file: file.__setitem__(IDS, h5py.ExternalLink(str(elsewhere(path)), IDS)),
    "soft link": lambda path, file: file.__setitem__(IDS, h5py.SoftLink("/labels")),
    "loop": lambda path, file: file.__setitem__(IDS, h5py.SoftLink(f"/{IDS}")),
    "raw data outside": lambda path, file: file.create_dataset(
        IDS, (ROWS,), "S64", external=[(str(elsewhere(path)), 0, ROWS * 64)]
    ),
    "huge": lambda path, file: file.create_dataset(IDS, (2**50,), "S64"),
    "huge and packed": lambda path, file: file.create_dataset(
        IDS, (2**40,), "S64", chunks=(2**20,), compression="gzip"
    ),
    "other type": lambda path, file: file.create_dataset(IDS, data=np.zeros(ROWS)),
    "objects": vlen,
    "other shape": lambda path, file: file.create_dataset(IDS, data=np.zeros((ROWS, 2), "S64")),
    "group": lambda path, file: file.create_group(IDS),
    "number": lambda path, file: file.create_dataset(IDS, data=np.bytes_(b"a" * 64)),
    "longer": lambda path, file: file.create_dataset(IDS, data=np.zeros(ROWS + 1, "S64")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_leads_elsewhere_or_is_no_column_is_refused(split: Path, part: Path, damage: str) -> None:
    with h5py.File(part, "a") as file:
        del file[IDS]
        DAMAGES[damage](part, file)
    with pytest.raises(ArtifactError, match=r"00001\.h5 .*again"):
        FeatureFile(split.parent)
    if damage != "longer":  # which the search may well read
        with pytest.raises(ArtifactError, match=r"00001\.h5 .*delete it"):
            held_recording_ids(part)


def outside(path: Path, name: str) -> None:
    with h5py.File(path, "a") as file:
        del file[IDS]
        layout = h5py.VirtualLayout((2 * ROWS,), "S64")
        layout[:] = h5py.VirtualSource(name, IDS, (2 * ROWS,), "S64")
        file.create_virtual_dataset(IDS, layout)


@pytest.mark.parametrize("name", ["{other}", "../../other.h5", "parts/../../other.h5", "parts/link.h5", "other.h5"])
def test_a_view_shows_its_own_parts_alone(split: Path, name: str) -> None:
    (split.parent / PARTS_FOLDER / "link.h5").symlink_to(elsewhere(split))
    outside(split, name.format(other=elsewhere(split)))
    for read in (lambda: FeatureFile(split.parent), lambda: held_recording_ids(split)):
        with pytest.raises(ArtifactError, match=r"train\.h5 cannot be read \(its recording_ids is partly in"):
            read()


@pytest.mark.parametrize(
    ("name", "text"),
    [("parts_json", '["../../other.h5"]'), ("parts_json", "7"), ("labels_json", "{}"), ("config_json", "[" * 9_999)],
)
def test_what_a_view_says_is_checked(split: Path, name: str, text: str) -> None:
    with h5py.File(split, "a") as file:
        file.attrs[name] = np.bytes_(text.encode())
    with pytest.raises(ArtifactError, match=r"train\.h5 cannot be read"):
        FeatureFile(split.parent)


def test_a_view_of_more_rows_than_its_parts_have_is_refused(split: Path) -> None:
    with h5py.File(split, "a") as file:
        del file[MEL]
        file.create_virtual_dataset(MEL, h5py.VirtualLayout((2**40, 1, 1, 4, 5), "f2"))
    with pytest.raises(ArtifactError, match=r"train\.h5"):
        FeatureFile(split.parent)


def test_damaged_bytes_never_end_in_anything_but_a_sentence(split: Path, part: Path) -> None:
    whole = part.read_bytes()
    randomly = random.Random(7)
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(12):
            data[randomly.randrange(min(len(data), 6_000))] = randomly.randrange(256)
        part.write_bytes(data)
        for read in (lambda: FeatureFile(split.parent).windows().in_memory(), lambda: held_recording_ids(part)):
            try:
                read()
            except ArtifactError:
                continue
