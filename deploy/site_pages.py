"""A hook of MkDocs: Markdown files outside docs/ become pages, and links fit the site.

In the repository a link or picture is relative to its file, so that it works where the code lies.
The site has all pages in one folder. A link to a file that is no page becomes plain text. A link to
a file that does not exist ends the build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "deploy/README.md": "deploy.md",
    "examples/README.md": "examples.md",
    "grammars/README.md": "grammars.md",
    "loadtests/README.md": "loadtests.md",
}
"""Files of the repository, and the pages of the site that they become."""

_SOURCES = {page: source for source, page in PAGES.items()}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]*)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages whose files exist."""
    for source, page in PAGES.items():
        if (ROOT / source).is_file():
            text = (ROOT / source).read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of the repository into links of the site."""
    source = _SOURCES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    folder = posixpath.dirname(source)

    def replaced(link: re.Match[str]) -> str:
        mark, text, path, anchor = link[1], link[2], link[3], link[4] or ""
        target = _page(posixpath.normpath(posixpath.join(folder, path)), files)
        return text if target is None else f"{mark}[{text}]({target}{anchor})"

    return _LINK.sub(replaced, markdown)


def _page(path: str, files: Files) -> str | None:
    """The page of a file of the repository. None if it is no page.

    Raises `PluginError` if the file does not exist.
    """
    if not (ROOT / path).exists():
        raise PluginError(f"a document links to {path}, which does not exist")
    page = PAGES.get(path, path.removeprefix("docs/"))
    return page if files.get_file_from_path(page) is not None else None
