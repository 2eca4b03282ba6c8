"""What the site needs beside mkdocs.yml: pages are files of the repository, named by their place in
it, so that one link serves on a repository page and on the site.
"""

import os
import posixpath
import re
from pathlib import Path
from xml.etree.ElementTree import Element

from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from gigp.lab.prediction.explain import explain

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "C[HO]*.md", "data/README.md", "docs/*.ipynb", "docs/**/*.md"]
PAGES += ["results/**/*.md"]
ASSETS = ["results/figures/*.svg", "results/tables/*.csv", "docs/examples/*.xyz"]
ASSETS += ["docs/site/*.css", "docs/site/*.js"]

# the front picture: what gigp-explain makes of a dozen molecules, before the second heading
MOLECULES, PICTURE = "docs/examples/dozen.xyz", "molecules.html"
FRAME = f"""
<iframe class="molecules" src="{PICTURE}" title="Molecules, and what their orbits add"></iframe>
[The same on a page of its own]({PICTURE}): `gigp-explain` on [a file of molecules]({MOLECULES}).
"""


class RepositoryLinks(Extension, Treeprocessor):
    """Links to what is no page: to the repository where its address is known, else plain text."""

    page: Page
    files: Files
    repository: str

    def extendMarkdown(self, md: Markdown) -> None:
        md.treeprocessors.register(self, "repository_links", 10)  # before MkDocs looks at links

    def run(self, root: Element) -> None:
        for link in root.iter("a"):
            target, _, anchor = link.get("href", "").partition("#")
            if not target or re.match(r"\w+:", target):
                continue
            self.lead(link, target, f"#{anchor}" if anchor else "")

    def lead(self, link: Element, target: str, anchor: str) -> None:
        """Let a link lead to a page, to a folder's page, to the repository, or nowhere."""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(self.page.file.src_uri), target))
        if path in self.files.src_uris or not (ROOT / path).exists():
            return  # a page of the site; or nothing, which MkDocs warns of
        if f"{path}/README.md" in self.files.src_uris:
            link.set("href", f"{target.rstrip('/')}/README.md{anchor}")
        elif self.repository:
            link.set("href", f"{self.repository}/blob/main/{path}{anchor}")
        else:
            link.tag = "span"
            del link.attrib["href"]


LINKS = RepositoryLinks()


def on_config(config: MkDocsConfig) -> None:
    config.markdown_extensions.append(LINKS)
    LINKS.repository = config.extra["repository"]
    if LINKS.repository:  # not as repo_url, for which Material's script asks GitHub for numbers
        config.copyright = f'<a href="{LINKS.repository}">Source</a>, MIT License'
    os.environ["JUPYTER_PATH"] = str(ROOT / "docs" / "site")  # has the kernel of the notebook


@event_priority(100)  # before plugins that look at files
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of the repository that are pages, and those that pages show, by their place."""
    theme = [file for file in files if file.src_dir != config.docs_dir]
    paths = sorted({path for glob in (*PAGES, *ASSETS) for path in ROOT.glob(glob)})
    place = str(ROOT), config.site_dir, config.use_directory_urls
    own = [File(path.relative_to(ROOT).as_posix(), *place) for path in paths]
    page, _ = explain("qm9", ROOT / MOLECULES)
    return Files([*theme, *own, File.generated(config, PICTURE, content=page)])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    LINKS.page, LINKS.files = page, files
    return markdown.replace("\n## ", f"{FRAME}\n## ", 1) if page.is_homepage else markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A number stays with its spread; links of a notebook, which MkDocs leaves, lead to pages."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html.replace(" ± ", "\u00a0±\u00a0").replace(" †", "\u00a0†")
    folder = posixpath.dirname(page.file.src_uri)

    def lead(link: re.Match[str]) -> str:
        target = files.get_file_from_path(posixpath.normpath(posixpath.join(folder, link[1])))
        return f'href="{target.url_relative_to(page.file)}"' if target else link[0]

    return re.sub(r'href="(?!\w+:|#)([^"#]+)"', lead, html)
