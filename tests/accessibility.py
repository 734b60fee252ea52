"""What axe-core finds wrong with a page, by the rules of WCAG 2.2, levels A and AA."""

from pathlib import Path

import pytest

from wakeword_core.npm import NpmError, NpmPackage

_FILE = "axe.min.js"
_AXE = NpmPackage(
    name="axe-core",
    version="4.14.1",
    integrity="sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
    folder="",
    files={_FILE: "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"},
)
_CACHE = Path(__file__).parents[1] / ".wakeword" / "cache"
_RUN = """async () => {
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const { violations } = await axe.run(document, { runOnly: tags });
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(" ")).join(", ")}`);
}"""


def violations(page) -> list[str]:
    """Rules that a page breaks, and where; skips where axe-core cannot be fetched."""
    try:
        script = _AXE.fetch(_CACHE) / _FILE
    except NpmError as error:
        pytest.skip(str(error))
    page.evaluate(script.read_text(encoding="utf-8"))  # which the page's own policy would not let it load
    return page.evaluate(_RUN)
