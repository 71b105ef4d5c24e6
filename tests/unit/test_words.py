# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One word for one thing: what the project once called otherwise does not come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    'benchmarks', 'data/shellscript', 'deploy', 'docker', 'docs', 'examples', 'models',
    'ros2_ws/src', 'tests', 'tools', 'training',
)  # fmt: skip
SUFFIXES = {
    '.py',
    '.md',
    '.rst',
    '.sh',
    '.msg',
    '.srv',
    '.action',
    '.yaml',
    '.html',
    '.js',
    '.ipynb',
}
# What stands on disk and in the results of commands keeps its name.
ON_DISK = r'`?pictures\.json|known_pictures|[.\'"`]pictures\b|\bpictures ?[:=]'
OF_TUNING = r'tune|optuna|--study|docs/(?:training|commands|troubleshooting)'
# What was said, what the field says, and where the old word is right all the same.
WORDS = [
    (r'\b[Pp]ictures?\b', 'image', ON_DISK),
    (r'\bNewPicture\b|\bSample\b(?! [a-z])', 'LabelledImage', r'optuna'),
    (r'\bdraw_line\b', 'calibrate', ''),
    (r'\broll_back\b|\b(?:[Tt]akes?|[Tt]aken|[Tt]ook) back\b', 'rollback', ''),
    (r'\b[Ff]lavours?\b', 'quantise, cast, downgrade_opset, engine_cache', ''),
    (r'\b[Dd]oubled\b', 'duplicate', ''),
    (r'\bstud(?:y|ies)\b', 'evaluation', OF_TUNING),
    (r'\bclass (?:Answers?|Judged|Reference)\b', 'Prediction', ''),
    (r'\b[Pp]repare[sd]?(?: an?| the)? images?\b|\b[Ii]mage preparation\b', 'preprocess', ''),
    (r'\b[Ll]ikewise\b|\bas above\b', 'what it refers to', ''),
    (r'\b[Oo]f each\b.*\bis taken\b', 'subject, verb, object', ''),
]  # fmt: skip


def lines() -> Iterator[tuple[str, str]]:
    """Each line of the project as a reader meets it, with its place; the builds left out."""
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob('*')]
    for path in sorted([*files, ROOT / 'README.md', ROOT / 'CONTRIBUTING.md']):
        name = path.relative_to(ROOT)
        if path.suffix in SUFFIXES and path.is_file() and path != Path(__file__):
            for number, line in enumerate(path.read_text('utf-8').splitlines(), 1):
                yield f'{name}:{number}', line


@pytest.fixture(scope='module')
def text() -> list[tuple[str, str]]:
    return list(lines())


@pytest.mark.parametrize(('old', 'say', 'allowed'), WORDS, ids=[word[1] for word in WORDS])
def test_an_old_word_does_not_come_back(text, old, say, allowed):
    allow = re.compile(allowed) if allowed else None
    found = [
        f'{place}: {line.strip()}'
        for place, line in text
        if re.search(old, line)
        and re.search(old, allow.sub('', line) if allow else line)
        # A file of another library's words.
        and not (allow and allow.search(place))
    ]
    assert not found, f'say {say}:\n' + '\n'.join(found)
