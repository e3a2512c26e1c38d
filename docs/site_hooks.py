"""What MkDocs does beside turning pages into HTML: it adds the pages that are made from the code, and writes formulas.

Pages of `docs/` are read in the repository too, so they link to files of it by `../` (from a folder, `../../`). Those
that the site needs are copied into it, and the links are changed to match. Formulas between dollars become MathML,
which browsers draw without a program.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

from site_pages import generated_pages

ROOT = Path(__file__).parents[1]
BROUGHT = (
    "benchmarks/results/*.md", "benchmarks/results/*.png", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md",
)  # fmt: skip
"""Files of the repository that pages link to."""
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, and what is brought from the repository."""
    for place, text in generated_pages().items():
        files.append(File.generated(config, place, content=text))
    for pattern in BROUGHT:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Make links to files of the repository links within the site."""
    depth = page.file.src_uri.count("/")
    within = markdown.replace("](" + "../" * (depth + 1), "](" + "../" * depth)
    return within if depth else within.replace("](docs/", "](")


def on_page_content(content: str, page: Any, config: Any, files: Files) -> str:
    """Write the formulas as MathML."""
    return _FORMULA.sub(_mathml, content)


def _mathml(found: re.Match[str]) -> str:
    formula = html.unescape(found[3])
    if found[2] == "(":
        return str(convert(formula, display="inline"))
    # On a narrow screen a long formula is moved by itself, not the page.
    return f'<div style="overflow-x: auto">{convert(formula, display="block")}</div>'
