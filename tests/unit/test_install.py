# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What sets the environments up: where packages come from, and what is said of it."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
import os
from pathlib import Path
import sys
import threading

import install
import pytest
import without_cuda

LISTED = """\
:env:.cert='/home/me/own.pem'
:env:.find-links='/opt/wheels'
global.cert='/etc/ssl/all.pem'
global.extra-index-url='https://one.example/simple\\nhttps://two.example/simple'
global.index-url='https://mirror.example/simple'
install.trusted-host='mirror.example'
list.format='columns'
"""

UV = """\
for line in ('Resolved 3 packages in 1ms', 'Prepared 2 packages in 1ms',
             'Installed 2 packages in 1ms'):
    print(line, flush=True)
"""


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, ...]]:
    """What pip is asked for; it says `LISTED` and installs nothing."""
    asked: list[tuple[str, ...]] = []

    def answer(*words: str) -> str:
        asked.append(words)
        return LISTED

    monkeypatch.setattr(install, '_pip', answer)
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    monkeypatch.delenv('SSL_CERT_FILE', raising=False)
    return asked


def test_uv_takes_packages_from_where_pip_does(
    pip: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = install._uv(['--requirement', 'some.in'], [])
    assert pip[0][0] == 'install'
    assert pip[0][-1] == 'uv'
    assert command[-2:] == ['--requirement', 'some.in']
    pairs = list(pairwise(command))
    assert [pair for pair in pairs if pair[0] in install._SETTINGS.values()] == [
        ('--index-url', 'https://mirror.example/simple'),
        ('--extra-index-url', 'https://one.example/simple'),
        ('--extra-index-url', 'https://two.example/simple'),
        ('--find-links', '/opt/wheels'),
        ('--allow-insecure-host', 'mirror.example'),
    ]
    # A variable comes before a file.
    assert os.environ['SSL_CERT_FILE'] == '/home/me/own.pem'
    monkeypatch.delenv('SSL_CERT_FILE')


def test_each_stage_is_counted_in_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []
    monkeypatch.setattr(install, '_uv_cache', lambda: tmp_path)
    assert install._run([sys.executable, '-c', UV], said) == 0
    assert len(said) == 3
    assert capsys.readouterr().out.splitlines() == [
        'downloaded 2 of 3 packages',
        'installed 2 of 3 packages',
    ]


@pytest.mark.parametrize('code', [0, 1])
def test_where_uv_fails_pip_tries_and_says_so(
    code: int,
    pip: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert pip == []
    program = f'import sys; print("pip has", *sys.argv[1:]); sys.exit({code})'
    monkeypatch.setattr(install, '_uv', lambda *_: ['/no/such/uv'])
    monkeypatch.setattr(install, '_PIP', [sys.executable, '-c', program])
    monkeypatch.setattr(sys, 'argv', ['install.py', '--requirement', 'some.in'])
    assert install.main() == code
    said, log = capsys.readouterr().err, (tmp_path / 'install.log').read_text()
    assert 'uv could not install this' in said
    assert '/no/such/uv' in log
    assert log.splitlines()[-1].endswith('--requirement some.in')
    assert ('error: pip could not install this either' in said) == bool(code)


def test_without_cuda_torch_is_the_build_for_cpus_and_the_rest_stays() -> None:
    every = without_cuda.CONSTRAINTS.read_text('utf-8')
    left = without_cuda.without_cuda(every).splitlines()
    built = [line.partition(' ')[0] for line in left if '+cpu' in line]
    assert {line.partition('==')[0] for line in built} == {'torch', 'torchvision'}
    plain = [line.replace('+cpu', '') for line in left]
    gone = [line for line in every.splitlines() if line not in plain]
    assert [line for line in every.splitlines() if line not in gone] == plain
    # Most of its 7 GB are these.
    assert {line.partition('==')[0] for line in gone} >= {'nvidia-cudnn-cu13', 'triton'}
    assert all(line.startswith(('nvidia-', 'cuda-', 'triton', 'tensorrt-rtx')) for line in gone)


def test_an_index_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    (tmp_path / 'torch').mkdir()
    serve = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(('127.0.0.1', 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}'
        without_cuda.check_index(url)
        with pytest.raises(SystemExit, match=r'/none, which does not answer .*: leave CPU=1 out'):
            without_cuda.check_index(f'{url}/none')
        server.shutdown()
    with pytest.raises(SystemExit, match=r'does not answer .*TORCH_INDEX=URL$'):
        without_cuda.check_index(url)
    with pytest.raises(SystemExit, match='takes torch from nowhere, which does not answer'):
        without_cuda.check_index('nowhere')
