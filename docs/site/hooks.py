"""What the site does that mkdocs does not: the order of pages, links out of docs/, and a check.

Pages link to files of the repository as GitHub wants it (`../../examples/...`). Such a file becomes
part of the site, and the link leads there; a link to a file that is not there is an error, as any
dead link is. After the build no page may ask for anything from another address.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).parents[2]
GROUPS = {
    "Tutorial": "tutorial",
    "How to": "how-to",
    "Reference": "reference",
    "Explanation": "explanation",
    "Decisions": "adr",
}
"""The groups of pages, in order, with their folders in docs/."""
OUTSIDE = "repository/"
"""Where files outside of docs/ are on the site."""
LINK = re.compile(r"(\]\()([^)\s#]+)")
FETCHED = re.compile(
    r"""<(?:script|link|img|iframe|source)[^>]*?(?:src|href)=["']?(?:https?:)?//[^>]*>"""
)
IMPORTED = re.compile(r"""(?:@import\s+|url\()["']?(?:https?:)?//[^)"';]*""")


def on_config(config: Any) -> Any:
    """Put every page into its group; README.md, where there is one, first."""
    docs = Path(config["docs_dir"])
    config["nav"] = [
        "README.md",
        *({name: _pages(docs, folder)} for name, folder in GROUPS.items()),
    ]
    return config


def _pages(docs: Path, folder: str) -> list[str]:
    pages = sorted(
        (docs / folder).glob("*.md"), key=lambda page: (page.name != "README.md", page.name)
    )
    return [page.relative_to(docs).as_posix() for page in pages]


def on_files(files: Files, config: Any) -> Files:
    """Take in the files outside of docs/ to which pages link."""
    waiting = [page.src_uri for page in files.documentation_pages()]
    for page in waiting:  # grows: what is taken in has links too
        text = (ROOT / source_of(page)).read_text("utf-8")
        for path in linked_files(text, page):
            uri = place_of(path)
            if not path.startswith("docs/") and files.get_file_from_path(uri) is None:
                source = str(ROOT / path)
                level = InclusionLevel.NOT_IN_NAV
                files.append(File.generated(config, uri, abs_src_path=source, inclusion=level))
                waiting += [uri] if uri.endswith(".md") else []
    return files


def place_of(path: str) -> str:
    """Return where a file of the repository is on the site."""
    return path.removeprefix("docs/") if path.startswith("docs/") else OUTSIDE + path


def source_of(uri: str) -> str:
    """Return which file of the repository a page of the site is."""
    return uri.removeprefix(OUTSIDE) if uri.startswith(OUTSIDE) else f"docs/{uri}"


def linked_files(text: str, uri: str) -> list[str]:
    """Return the files of the repository to which a page links."""
    found = (repo_path(link, uri) for _, link in LINK.findall(text))
    return [path for path in found if path and (ROOT / path).is_file()]


def repo_path(link: str, uri: str) -> str | None:
    """Return what a page's link means in the repository, or None if it leads out of it."""
    if re.match(r"[a-z][a-z+.-]*:|/", link):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source_of(uri)), link))
    return None if path.startswith("..") else path


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Lead links to where the repository's files are on the site."""
    return led(markdown, page.file.src_uri)


def led(markdown: str, uri: str) -> str:
    """Return a page's text with its links as they are on the site."""

    def there(found: re.Match[str]) -> str:
        path = repo_path(found[2], uri)
        if path is None:
            return found[0]
        return found[1] + posixpath.relpath(place_of(path), posixpath.dirname(uri) or ".")

    return LINK.sub(there, markdown)


def on_post_build(config: Any) -> None:
    """Refuse a site that asks for anything from another address."""
    site = Path(config["site_dir"])
    asked = [
        f"{path.relative_to(site)}: {what[:120]}"
        for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")])
        for what in foreign(path.read_text("utf-8"))
    ]
    if asked:
        raise PluginError("pages ask for something from elsewhere:\n" + "\n".join(asked[:9]))


def foreign(text: str) -> list[str]:
    """Return what a page or a style sheet would fetch from another address."""
    return [found[0] for pattern in (FETCHED, IMPORTED) for found in pattern.finditer(text)]
