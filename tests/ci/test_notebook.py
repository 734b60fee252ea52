"""The notebook of the examples runs, from its first cell to its last, with a model that hears what is loud."""

import json

import matplotlib
import numpy as np
import pytest
import soundfile
from documents import ROOT
from loud_model import RATE, WORD, loud_and_quiet, save_model

NOTEBOOK = ROOT / "examples" / "first_word.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[dict]:
    return json.loads(NOTEBOOK.read_text("utf-8"))["cells"]


def test_the_notebook_holds_nothing_that_a_run_has_left(cells) -> None:
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and [(cell["outputs"], cell["execution_count"]) for cell in code] == len(code) * [([], None)]


def test_the_notebook_hears_the_word_in_recordings_and_in_a_stream(cells, tmp_path, monkeypatch, capsys) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    save_model(tmp_path / "exported")
    (tmp_path / "spoken").mkdir()
    soundfile.write(tmp_path / "spoken" / "one.flac", loud_and_quiet(), RATE)
    (tmp_path / "examples").mkdir()
    monkeypatch.chdir(tmp_path / "examples")
    monkeypatch.setattr(plt, "show", lambda: None)
    names: dict = {}
    try:
        for cell in cells:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), names)
        assert [event.label for event in names["detections"]] == [WORD, WORD]
        assert [event.time for event in names["heard"]] == [event.time for event in names["detections"]]
        picture, curves = names["figure"].axes
        assert picture.get_images()[0].get_array().shape[0] == 16, "the bands of the model"
        assert np.array_equal(curves.lines[0].get_ydata(), names["scores"][:, 1])
        assert len(curves.lines) == 2 + len(names["detections"])
    finally:
        plt.close("all")
    assert capsys.readouterr().out.count(f"s  {WORD}") == 4
