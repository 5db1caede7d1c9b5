#!/usr/bin/env python3
"""Builds the documentation site from docs/ and the pages in the root, with mdBook, and checks its links.

    site.py [FOLDER]     into FOLDER, by default target/site

docs/SUMMARY.md is the table of contents; every page must be in it. Links to other files of the repository become links to
GitHub. The site needs no network, also for its search.
"""

import os
import posixpath
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import tools

REPOSITORY = "https://github.com/callgate/callgate"
ROOT_PAGES = ["README.md", "SECURITY.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
BOOK = f"""[book]
title = "Callgate"
description = "The auth callout service for NATS"
language = "en"
src = "src"

[build]
create-missing = false

[output.html]
git-repository-url = "{REPOSITORY}"
preferred-dark-theme = "navy"
no-section-label = true

[output.html.fold]
enable = true
level = 1

[output.html.search]
limit-results = 20
boost-title = 3
"""
# A link or picture in Markdown.
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)(\))")


def main(arguments):
    target = Path(os.environ.get("CARGO_TARGET_DIR") or tools.ROOT / "target").resolve()
    site = Path(arguments[0]).resolve() if arguments else target / "site"
    try:
        with tools.locked():
            mdbook = tools.install_mdbook()
        build(mdbook, site)
    except tools.Failed as failure:
        print(f"site: {failure}", file=sys.stderr)
        return 1
    faults = unlisted() + broken_links(site)
    for fault in faults:
        print(f"site: {fault}", file=sys.stderr)
    pages = len(list(site.rglob("*.html")))
    print(f"site: {site}, {pages} pages; {len(faults)} faults")
    return 1 if faults else 0


def build(mdbook, site):
    with tools.scratch() as folder:
        source = folder / "src"
        source.mkdir()
        (folder / "book.toml").write_text(BOOK)
        for page in [*(tools.ROOT / "docs").glob("*.md"), *(tools.ROOT / name for name in ROOT_PAGES)]:
            (source / renamed(page.name)).write_text(rewritten(page))
        for picture in (tools.ROOT / "docs").glob("*.svg"):
            shutil.copy(picture, source / picture.name)
        shutil.rmtree(site, ignore_errors=True)
        done = subprocess.run([mdbook, "build", "--dest-dir", site, folder], capture_output=True, text=True)
        said = done.stdout + done.stderr
        if done.returncode != 0 or "ERROR" in said:
            raise tools.Failed(f"mdbook: {said}")


def rewritten(page):
    """The page with the links that it needs in one folder with all others."""
    parts = re.split(r"(^```.*?^```$)", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    # The odd parts are code.
    return "".join(part if number % 2 else LINK.sub(lambda link: link[1] + moved(page, link[2]) + link[3], part)
                   for number, part in enumerate(parts))


def moved(page, link):
    path, _, anchor = link.partition("#")
    if not path or ":" in path:
        return link
    file = posixpath.normpath(posixpath.join(page.parent.relative_to(tools.ROOT).as_posix(), path))
    anchor = f"#{anchor}" if anchor else ""
    is_page = file in ROOT_PAGES or re.fullmatch(r"docs/[^/]+\.(md|svg)", file)
    return renamed(posixpath.basename(file)) + anchor if is_page else f"{REPOSITORY}/blob/main/{file}{anchor}"


def renamed(name):
    """The first page of the site has another name."""
    return "index.md" if name == "README.md" else name


def unlisted():
    listed = set(re.findall(r"\(([^)]+)\)", (tools.ROOT / "docs" / "SUMMARY.md").read_text()))
    pages = {page.name for page in (tools.ROOT / "docs").glob("*.md")} - {"SUMMARY.md"}
    return [f"docs/SUMMARY.md does not list {page}" for page in sorted(pages - listed)]


class Page(HTMLParser):
    """The targets of a page's links, and the names that links can lead to."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.names = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "a" and attributes.get("href"):
            self.targets.append(attributes["href"])
        if tag in ("img", "script") and attributes.get("src"):
            self.targets.append(attributes["src"])
        self.names.update(value for key, value in attributes.items() if key in ("id", "name") and value)


def broken_links(site):
    pages = {file: Page(file.read_text()) for file in site.rglob("*.html")}
    faults = []
    for file, page in pages.items():
        # The page of all pages repeats the others; the 404 page lies at an unknown depth.
        for target in [] if file.name in ("print.html", "404.html") else page.targets:
            path, _, anchor = unquote(target).partition("#")
            if ":" in path or path.startswith("//"):
                continue
            aim = (file.parent / path).resolve() if path else file
            if not aim.exists():
                faults.append(f"{file.name}: no file for the link `{target}`")
            elif anchor and aim in pages and anchor not in pages[aim].names:
                faults.append(f"{file.name}: no heading for the link `{target}`")
    return sorted(set(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
