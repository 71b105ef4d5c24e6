# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The commands in the documentation: where they stand, and what the page says of running them.

A comment that readers do not see stands above each block of shell commands:

    <!-- run -->                                   tests/end_to_end/test_docs_commands.py does
    <!-- tested by tests/FILE.py::test_name -->    that test runs the same commands
    <!-- not run: needs a camera -->               nobody does, and why

Every command line is parsed all the same, by tests/unit/test_docs.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
import re

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob('*.md'),
        *ROOT.glob('docs/**/*.md'),
        ROOT / 'data' / 'shellscript' / 'README.md',
        ROOT / 'models' / 'README.md',
        ROOT / 'training' / 'notebooks' / 'README.md',
    ]
)
PAGE_IDS = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(
    r'(?:^[ ]*<!-- (?P<mark>[^\n]*) -->\n)?'
    r'^(?P<indent>[ ]*)```(?P<language>\w*)\n(?P<text>.*?)^ *```$',
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page.

    Attributes:
        place: Page and line, for messages.
        mark: The comment above it; empty if there is none.
        language: As the fence says.
        text: What is between the fences, without their indentation.
    """

    place: str
    mark: str
    language: str
    text: str

    def lines(self) -> Iterator[str]:
        """Its commands: continued lines joined, split where a shell would."""
        for line in self.text.replace('\\\n', ' ').splitlines():
            yield from (part.strip() for part in re.split(r'&&|\|', line))


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = page.read_text(encoding='utf-8')
    return [
        Block(
            place=f'{page.relative_to(ROOT)}:{text[: found.start("language")].count(chr(10)) + 1}',
            mark=found['mark'] or '',
            language=found['language'],
            text=re.sub(f'^{found["indent"]}', '', found['text'], flags=re.MULTILINE),
        )
        for found in _FENCE.finditer(text)
    ]
