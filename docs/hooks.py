"""What MkDocs does not do by itself: pages from all of the repository, and a site that loads nothing from other hosts.

Pages link to each other as GitHub needs it, by the place of a file in the repository. The site has the pages of `docs`
at its root. Every other file that a page links to joins them under its own path, and links are written anew for that.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
MOVED = {"README.md": "overview.md"}
"""Files whose names mean something else in a site."""

REFERENCE = ("", ".methods", ".scores", ".data", ".models", ".heads", ".requests", ".testing")
"""The public packages, by what follows ``natmu`` in their names; each has a page in ``docs/reference``."""

FENCED = re.compile(r"(^ *```.*?^ *```)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")
ITEM = re.compile(r"(?:-|\d\.) ")
OUTSIDE = re.compile(r"[a-z]+:|/")
LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc=[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|<link\b(?![^>]*\brel=[\"']?(?:canonical|next|prev)\b)[^>]*?\bhref=[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)"
    r"|(class=[\"']?mermaid\b)"
)
"""What a browser would fetch from another host. Material fetches Mermaid itself for what has that class."""


def place_in_site(path: Path) -> str:
    """Where a file of the repository is in the site."""
    if path.is_relative_to(ROOT / "docs"):
        return path.relative_to(ROOT / "docs").as_posix()
    name = path.relative_to(ROOT).as_posix()
    return MOVED.get(name, name)


def linked_file(source: Path, link: str) -> Path | None:
    """The file that a page's link leads to; that of a folder is its README. None if there is no such file."""
    target = (source.parent / link).resolve()
    target = target / "README.md" if target.is_dir() else target
    return target if target.is_file() and target.is_relative_to(ROOT) else None


def links_of(text: str) -> Iterator[str]:
    """The relative links of a page, without their anchors."""
    for link in LINK.findall(FENCED.sub("", text)):
        if not OUTSIDE.match(link):
            yield link


def with_links(text: str, source: Path) -> str:
    """A page whose relative links are those of the site."""
    folder = Path(place_in_site(source)).parent

    def in_site(link: re.Match[str]) -> str:
        target = None if OUTSIDE.match(link[0]) else linked_file(source, link[0])
        return link[0] if target is None else relpath(place_in_site(target), folder)

    parts = FENCED.split(text)
    parts[::2] = [LINK.sub(in_site, part) for part in parts[::2]]
    return "".join(parts)


def with_deep_lists(text: str) -> str:
    """A page whose lists have their further paragraphs and blocks where Python-Markdown looks for them, at 4 spaces."""
    lines, deeper, fence, broken = [""], 0, False, False
    for line in text.split("\n"):
        fence ^= line.startswith("```")
        if item := None if fence else ITEM.match(line):
            lines += [""] if broken and lines[-1].strip() else []
            deeper, broken = 4 - len(item[0]), False
        elif line.strip() and not line.startswith(" "):
            deeper, broken = 0, False
        elif line.strip() and deeper:
            broken |= not lines[-1].strip()
        lines.append(" " * deeper + line if line.startswith("  ") else line)
    return "\n".join(lines[1:])


def files_beyond_docs() -> list[Path]:
    """All results, and every other file outside of `docs` that a page of the site links to."""
    found, pages = set[Path](), [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", *RESULTS.glob("*.md")]
    found.update(page for page in pages if not page.is_relative_to(ROOT / "docs"))
    while pages:
        page = pages.pop()
        for link in links_of(page.read_text(encoding="utf-8")):
            target = linked_file(page, link)
            if target is None or target in found or target.is_relative_to(ROOT / "docs"):
                continue
            found.add(target)
            pages += [target] if target.suffix == ".md" else []
    return sorted(found)


def loaded_from_elsewhere(text: str) -> list[str]:
    """What a page or a style sheet makes a browser fetch from another host."""
    return ["".join(groups) for groups in LOADED.findall(text)]


def missing_names(page: str, package: str) -> list[str]:
    """The public names of a package that its page of the reference lacks."""
    source = ROOT / "src" / package.replace(".", "/") / "__init__.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    (public,) = (
        one.value for one in tree.body if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "__all__"
    )
    shown = {*re.findall(r"\bid=\"([\w.]+)\"", page)}
    places = {name: {f"{package}.{name}", f"{package}.{name}.{name}"} for name in ast.literal_eval(public)}
    return sorted(name for name, ids in places.items() if not ids & shown)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files from beyond `docs`."""
    from mkdocs.structure.files import File

    for path in files_beyond_docs():
        files.append(File.generated(config, place_in_site(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Write the links and lists of a page as MkDocs needs them."""
    assert page.file.abs_src_path is not None, "every page is a file"
    return with_links(with_deep_lists(markdown), Path(page.file.abs_src_path))


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that loads something from another host, or whose reference lacks a public name."""
    from mkdocs.exceptions import PluginError

    site = Path(config.site_dir)
    for path in (one for one in site.rglob("*") if one.suffix in {".html", ".css"}):
        if loaded := loaded_from_elsewhere(path.read_text(encoding="utf-8")):
            raise PluginError(f"{path.relative_to(site)} loads {loaded[0]}; a page may load nothing from elsewhere.")
    for name in REFERENCE:
        page = site / f"reference/natmu{name.replace('.', '-')}.html"
        if not page.is_file():
            raise PluginError(f"The site lacks {page.relative_to(site)}, the reference of natmu{name}.")
        if missing := missing_names(page.read_text(encoding="utf-8"), f"natmu{name}"):
            raise PluginError(f"{page.name} lacks {', '.join(missing)}.")
