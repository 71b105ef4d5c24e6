# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Install packages with uv, in a third of pip's time; where uv cannot, pip does.

    python tools/install.py --no-deps --requirement constraints.txt

Run it with the environment's own Python; the words are those of ``pip install``. One line counts
the packages. What uv and pip say goes to ``install.log`` in the environment; its end is shown when
pip fails, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
import os
from pathlib import Path
import re
import shlex
import subprocess
import sys
import sysconfig
import threading

CONSTRAINTS = Path(__file__).parents[1] / 'constraints.txt'
_FAILURE_LINES = 20
_PIP = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
# uv's words for pip's settings; of other settings pip alone knows.
_SETTINGS = {
    'index-url': '--index-url',
    'extra-index-url': '--extra-index-url',
    'find-links': '--find-links',
    'trusted-host': '--allow-insecure-host',
}


def main() -> int:
    """Install; returns what the installer returns."""
    log = Path(sys.prefix, 'install.log')
    said: list[str] = []
    code = _run(_uv(sys.argv[1:], said), said)
    if code:
        log.write_text(''.join(said), 'utf-8')
        print(f'uv could not install this (all it said: {log}); pip tries', file=sys.stderr)
        code = _run(
            [*_PIP, 'install', '--no-compile', '--progress-bar', 'off', *sys.argv[1:]], said
        )
    log.write_text(''.join(said), 'utf-8')
    if code:
        print('\n' + ''.join(said[-_FAILURE_LINES:]), end='', file=sys.stderr)
        print(f'error: pip could not install this either; all it said: {log}', file=sys.stderr)
    return code


def _uv(words: list[str], said: list[str]) -> list[str]:
    """The command that installs with uv, which pip brings and uv takes from where pip does."""
    asked = ['install', '--no-deps', '--no-compile', '--constraint', str(CONSTRAINTS), 'uv']
    # A failure shows when uv is called.
    said.append(_pip(*asked))
    settings = pip_settings(_pip('config', 'list'))
    if certificates := settings.get('cert'):
        os.environ.setdefault('SSL_CERT_FILE', certificates[-1])
    command = [str(Path(sys.executable).with_name('uv')), 'pip', 'install']
    # As pip: the best version of all sources, not that of the first.
    command += ['--python', sys.executable, '--index-strategy', 'unsafe-best-match']
    for name, option in _SETTINGS.items():
        command += [word for value in settings.get(name, []) for word in (option, value)]
    return [*command, *words]


def _pip(*words: str) -> str:
    """What pip says to its words."""
    command = [*_PIP, *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)  # noqa: S603
    return done.stdout.decode()


def pip_settings(listed: str) -> Mapping[str, list[str]]:
    """The values of each setting, from what ``pip config list`` says.

    Variables of the environment come before files, as pip reads them.
    """
    found: dict[str, list[str]] = {}
    for where in (r'(?:global|install)', ':env:'):
        for name, value in re.findall(rf"^{where}\.([\w-]+)='(.*)'$", listed, re.MULTILINE):
            found[name] = shlex.split(value.replace('\\n', ' '))
    return found


def _run(command: list[str], said: list[str]) -> int:
    """Run an installer, collect what it says, and count its packages."""
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except OSError as error:
        said.append(f'{error}\n')
        return 1
    with process:
        assert process.stdout is not None
        said.extend(_watch(process.stdout))
    return process.returncode


def _watch(lines: Iterable[str]) -> Iterator[str]:
    """Pass the lines of uv or pip on, and count the packages of each stage."""
    site = Path(sysconfig.get_path('purelib'))
    total, stage = 0, None
    for line in lines:
        yield line
        if found := re.match(r'Resolved (\d+) package', line):
            total = int(found[1])
            stage = _Stage('downloaded', total, _uv_cache(), '*')
        elif (found := re.match(r'Prepared (\d+) package', line)) and stage:
            stage.end(int(found[1]))
            stage = _Stage('installed', total, site, '*.dist-info')
        elif (found := re.match(r'Installed (\d+) package', line)) and stage:
            # Nothing was downloaded if nothing was prepared.
            stage.what = 'installed'
            stage.end(int(found[1]))
            stage = None
        elif line.startswith('Installing collected packages: '):
            stage = _Stage('installed', len(line.split(',')), site, '*.dist-info')
    if stage:
        stage.end()


def _uv_cache() -> Path:
    """Where uv keeps what it has unpacked, one folder for a package."""
    asked = [str(Path(sys.executable).with_name('uv')), 'cache', 'dir']
    done = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603
    return Path(done.stdout.strip(), 'archive-v0')


class _Stage:
    """Counts the packages that appear in a folder, as nothing is said until the last is there."""

    def __init__(self, what: str, total: int, folder: Path, pattern: str) -> None:
        self.what, self._total, self._folder, self._pattern = what, total, folder, pattern
        self._before, self._ended = self._count(), threading.Event()
        self._thread = threading.Thread(target=self._show)
        if sys.stdout.isatty():
            self._thread.start()

    def end(self, done: int | None = None) -> None:
        """Leave the last line standing; the only one where nobody watches."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        done = self._count() - self._before if done is None else done
        start = '\r' if sys.stdout.isatty() else ''
        print(f'{start}{self.what} {done} of {self._total} packages', flush=True)

    def _show(self) -> None:
        while not self._ended.wait(0.5):
            done = self._count() - self._before
            print(f'\r{self.what} {done} of {self._total} packages', end='', flush=True)

    def _count(self) -> int:
        return len(list(self._folder.glob(self._pattern)))


if __name__ == '__main__':
    sys.exit(main())
