"""What was measured for one manifest is known for the next, which is what it would be if all were measured again."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sound_files import noise, source, write

from wakeword_core.config import DataConfig
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ArtifactError
from wakeword_core.files import hash_file
from wakeword_core.graph.project import Project
from wakeword_core.recordings.forgotten import NOTHING_FORGOTTEN
from wakeword_core.recordings.manifest import MANIFEST_FILE, build_manifest
from wakeword_core.recordings.measures import MEASURES, read_measures
from wakeword_core.recordings.scan import ScanCache
from wakeword_core.workers.local import LocalWorkers


def built(
    folder: Path, home: Path, earlier: "pa.Table | None" = None, forgotten: Any = NOTHING_FORGOTTEN
) -> tuple[bytes, dict[str, Any], pa.Table]:
    """Build a manifest of two sources, and return its bytes, its summary and what was measured."""
    sources = [source(folder / "spoken", "spoken", "positive"), source(folder / "other", "other")]
    cache, out = ScanCache(home), home / "out"
    out.mkdir(exist_ok=True)
    try:
        summary = build_manifest(
            sources, DataConfig(), "robin", 1, cache, out, forgotten=forgotten, workers=LocalWorkers(1), earlier=earlier
        )
    finally:
        cache.close()
    return (out / MANIFEST_FILE).read_bytes(), asdict(summary), read_measures(out / MEASURES)


def write_one(path: Path, number: int) -> None:
    """Write a recording that is fit for use, silent, too short or broken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if number % 5 == 4:
        path.write_bytes(b"no sound %d" % number)
    else:
        write(path, noise((0.3, 0.3, 0.3, 0.01)[number % 5], seed=number) * (0 if number % 5 == 2 else 1))


_CHANGES = st.tuples(
    st.sampled_from(["add", "change", "copy", "rename", "forget", "remove"]), st.integers(0, 9), st.integers(10, 30)
)


@examples(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(changes=st.lists(_CHANGES, min_size=3, max_size=5))
def test_any_changes_lead_to_the_manifest_that_a_new_home_would_make(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, int]]
) -> None:
    folder, forgotten = tmp_path_factory.mktemp("measures"), NOTHING_FORGOTTEN
    for number in range(6):
        write_one(folder / ("spoken" if number < 3 else "other") / f"{number}.wav", number % 4)
    (folder / "home").mkdir()
    *_, measured = built(folder, folder / "home")
    for what, which, number in changes:
        paths = sorted(folder.glob("*/*.wav"))
        path = paths[which % len(paths)]
        other = path.with_name(f"{number}.wav")
        if what == "forget":
            forgotten = forgotten.adding([hash_file(path)], (), "")
        elif what in ("add", "change"):
            write_one(path if what == "change" else other, number)
        elif what == "copy":
            shutil.copy(path, other)
        elif what == "rename" or len(paths) > 4:
            path.rename(other) if what == "rename" else path.unlink()
        manifest, summary, measured = built(folder, folder / "home", measured, forgotten)
    (folder / "new").mkdir()
    shutil.copytree(folder / "home" / "splits", folder / "new" / "splits")  # speakers stay where they are
    assert built(folder, folder / "new", None, forgotten) == (manifest, summary, measured)
    assert not forgotten.recordings & set(measured["recording_id"].to_pylist())


def test_the_last_manifest_is_asked_before_anything_is_measured_again(recordings: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    config = load_config(None, [f"data.sources=[{{name: mine, path: '{recordings}', role: negative}}]"])
    project = Project(config, tmp_path / "home", lambda what, done, total: seen.append((what, total)))
    first, _ = project.build("raw_manifest")
    assert ("measure recordings", 10) in seen and ("read headers", 10) in seen
    seen.clear()
    write(recordings / "new.wav", noise(seed=50))
    shutil.rmtree(project.cache)
    second, _ = project.build("raw_manifest")
    assert ("measure recordings", 1) in seen and ("read headers", 1) in seen
    assert {total for what, total in seen if not what.startswith("hash")} == {1}
    assert len(read_measures(first.file(MEASURES))) == 10 and len(read_measures(second.file(MEASURES))) == 11


def test_measures_by_another_limit_are_measured_again(recordings: Path, tmp_path: Path) -> None:
    for name in ("spoken", "other"):
        shutil.copytree(recordings, tmp_path / "tree" / name)
    (tmp_path / "home").mkdir()
    manifest, _, measured = built(tmp_path / "tree", tmp_path / "home")
    kinds = measured.schema.metadata[b"kinds"].decode()
    other = measured.replace_schema_metadata({"kinds": kinds.replace("levels", "loudness")})
    wrong = other.set_column(other.schema.get_field_index("peak"), "peak", pa.array([0.001] * len(other)))
    assert built(tmp_path / "tree", tmp_path / "home", wrong)[0] == manifest
    assert built(tmp_path / "tree", tmp_path / "home", wrong.replace_schema_metadata(measured.schema.metadata))[0] != (
        manifest
    )


@pytest.mark.parametrize("harm", ["flip", "columns", "kinds"])
def test_measures_that_cannot_be_used_are_an_error_that_says_so(recordings: Path, tmp_path: Path, harm: str) -> None:
    config = load_config(None, [f"data.sources=[{{name: mine, path: '{recordings}', role: negative}}]"])
    project = Project(config, tmp_path / "home")
    path = project.build("raw_manifest")[0].file(MEASURES)
    table = pq.read_table(path)
    path.unlink()
    if harm == "flip":
        pq.write_table(table, path, write_page_checksum=True)
        data = bytearray(path.read_bytes())
        data[60] ^= 1
        path.write_bytes(data)
    else:
        pq.write_table(table.drop_columns(["peak"]) if harm == "columns" else table.replace_schema_metadata({}), path)
    with pytest.raises(ArtifactError, match=r"measures\.parquet cannot be read .*build the manifest again"):
        read_measures(path)
