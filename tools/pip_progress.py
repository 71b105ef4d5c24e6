# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Install pinned requirements with pip, and show one line that counts instead of pip's hundreds.

    python tools/pip_progress.py constraints.txt

Run it with the environment's own Python. What pip says goes to ``pip.log`` in the environment; its
end is shown when pip fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
import re
import subprocess
import sys
import sysconfig
import threading

_FAILURE_LINES = 20


def main() -> int:
    """Install; returns what pip returns."""
    requirements = Path(sys.argv[1])
    total = len(re.findall(r'^\w', requirements.read_text('utf-8'), re.MULTILINE))
    log = Path(sys.prefix, 'pip.log')
    command = [sys.executable, '-m', 'pip', 'install', '--no-deps', '--no-compile']
    command += ['--disable-pip-version-check', '--progress-bar', 'off', '--requirement']
    with subprocess.Popen(  # noqa: S603 - no shell
        [*command, str(requirements)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        assert pip.stdout is not None
        said = list(_watch(pip.stdout, total))
    log.write_text(''.join(said), 'utf-8')
    if pip.returncode:
        print('\n' + ''.join(said[-_FAILURE_LINES:]), end='', file=sys.stderr)
        print(f'error: pip could not install {requirements}; all it said: {log}', file=sys.stderr)
    return pip.returncode


def _watch(lines: Iterable[str], total: int) -> Iterator[str]:
    """Pass the lines of pip on, and count what they tell of."""
    done, ended = 0, threading.Event()
    installing = None
    for line in lines:
        yield line
        if re.match(r'Collecting |Processing |Ignoring |Requirement already', line):
            done += 1
            _count('downloaded', done, total)
        elif found := re.match(r'Installing collected packages: (.*)', line):
            _end('downloaded', done, total)
            size = len(found[1].split(', '))
            installing = threading.Thread(target=_count_installed, args=(size, ended))
            installing.start()
    ended.set()
    if installing:
        installing.join()


def _count_installed(total: int, ended: threading.Event) -> None:
    """Count the packages that appear, as pip says nothing until the last is there."""
    site = Path(sysconfig.get_path('purelib'))
    before = len(list(site.glob('*.dist-info')))
    done = 0
    while not ended.wait(1):
        done = len(list(site.glob('*.dist-info'))) - before
        _count('installed', done, total)
    _end('installed', done, total)


def _count(what: str, done: int, total: int) -> None:
    if sys.stdout.isatty():
        print(f'\r{what} {done} of {total} packages', end='', flush=True)


def _end(what: str, done: int, total: int) -> None:
    """Leave the last line standing; the only one where nobody watches."""
    start = '\r' if sys.stdout.isatty() else ''
    print(f'{start}{what} {done} of {total} packages', flush=True)


if __name__ == '__main__':
    sys.exit(main())
