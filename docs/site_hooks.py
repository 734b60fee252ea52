"""What MkDocs does besides showing the pages of docs/: it adds those that are made from the code and those that lie
elsewhere in the checkout, and refuses a site that would load anything from other hosts.
"""

import posixpath
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from reference import PAGES

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "README.md": "project/overview.md",
    "examples/README.md": "project/examples.md",
    "benchmarks/RESULTS.md": "project/speed.md",
    "benchmarks/NOTES.md": "project/notes.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
    "CODE_OF_CONDUCT.md": "project/conduct.md",
}
"""Pages outside of docs/ -> their places in the site."""
_ORIGINS = {place: path for path, place in ELSEWHERE.items()}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
_LOADING = {"link": "href", **dict.fromkeys(("script", "img", "iframe", "source", "audio", "video"), "src")}
_OF_STYLES = re.compile(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^)'\"\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code, and those that lie elsewhere."""
    for place, make in PAGES.items():
        files.append(File.generated(config, place, content=make()))
    for path, place in ELSEWHERE.items():
        files.append(File.generated(config, place, content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to where pages are in the site; what is no page of it keeps its name and loses its link."""
    place = page.file.src_uri
    folder = posixpath.dirname(_ORIGINS.get(place, f"docs/{place}"))

    def led(match: re.Match[str]) -> str:
        mark, text, target, anchor = match.groups(default="")
        path = posixpath.normpath(posixpath.join(folder, target))
        if "://" in target or not (ROOT / path).exists():
            return match[0]
        if path not in ELSEWHERE and not path.startswith("docs/"):
            return text
        there = ELSEWHERE.get(path, path.removeprefix("docs/"))
        return f"{mark}[{text}]({posixpath.relpath(there, posixpath.dirname(place) or '.')}{anchor})"

    return _LINK.sub(led, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that loads anything from other hosts."""
    for path in sorted(Path(config.site_dir).rglob("*")):
        for url in foreign(path):
            raise PluginError(f"{PurePosixPath(path)} loads {url}, but a page loads nothing from other hosts")


def foreign(path: Path) -> Iterator[str]:
    """What a page or a style sheet loads from other hosts when it is shown; links to follow are none of that."""
    if path.suffix == ".html":
        reader = _Loads()
        reader.feed(path.read_text(encoding="utf-8"))
        yield from reader.urls
    if path.suffix in (".html", ".css"):
        yield from _OF_STYLES.findall(path.read_text(encoding="utf-8"))


class _Loads(HTMLParser):
    """Collects the addresses on other hosts that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        url = dict(attrs).get(_LOADING.get(tag, "")) or ""
        if url.startswith(("http://", "https://", "//")):
            self.urls.append(url)
