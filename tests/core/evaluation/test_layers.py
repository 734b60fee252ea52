"""What is measured knows nothing of streams, and streams nothing of the report."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3] / "wakeword_core" / "evaluation"


@pytest.mark.parametrize(("package", "above"), [("measure", {"streams", "report"}), ("streams", {"report"})])
def test_packages_import_one_way(package: str, above: set[str]) -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / package).glob("*.py")]
    imported = {name for text in sources for name in re.findall(r"wakeword_core\.evaluation\.(\w+)", text)}
    assert package in imported and not imported & above
