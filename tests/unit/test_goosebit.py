# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The agent against goosebit, a server of others that speaks hawkBit's contract."""

from __future__ import annotations

from collections.abc import Iterator
import json
import os
from pathlib import Path
import socket
import subprocess
import sys
import time
from typing import Any
import urllib.request

import builders
from file_server import serve
import pytest

from adet_core.bundle import Bundle, open_bundle
from adet_core.errors import RejectedError

pytest.importorskip('cryptography', reason='cryptography is not installed')
pytest.importorskip('goosebit', reason='goosebit is not installed')

from adet_fleet.agent import Agent
from adet_fleet.ddi import DdiClient
from adet_fleet.install import Robot
from adet_fleet.keys import make_keys, Signer, TrustedKeys
from adet_fleet.publish import publish


class Fleet:
    """A server with a roll-out, and robots."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self._url = folder, url
        self.keys = TrustedKeys(folder / 'fleet.key.pub')

    def agent(self, name: str, load: Any) -> Agent:
        client = DdiClient(self._url, 'DEFAULT', name, f'TargetToken of-{name}')
        robot = Robot(self.folder / name)
        return Agent(client, robot, self.keys, load=load, config_data={'hw_model': 'cell'})

    def told(self, name: str) -> dict[str, Any]:
        with urllib.request.urlopen(f'{self._url}/told/{name}') as answer:
            return json.loads(answer.read())


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    make_keys(tmp_path / 'fleet.key')
    bundle = builders.make_bundle(tmp_path / 'trained', seed=1)
    builders.make_engine(bundle)
    store = tmp_path / 'served' / 'bundles' / 'padim' / 'plate'
    publish(bundle.folder, str(store.parents[1]), Signer(tmp_path / 'fleet.key'))
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    script = Path(__file__).with_name('goosebit_server.py')
    with serve(tmp_path / 'served') as url, (tmp_path / 'goosebit.log').open('w') as log:
        words = [str(port), str(store), f'{url}/padim/plate']
        server = subprocess.Popen(
            [sys.executable, script, *words], stdout=log, stderr=log, cwd=tmp_path, env=os.environ
        )
        try:
            _wait_for(port, server)
            yield Fleet(tmp_path, f'http://127.0.0.1:{port}')
        finally:
            server.kill()
            server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    while True:
        assert server.poll() is None, 'goosebit did not start'
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return


def test_a_roll_out_is_taken_and_another_refused(fleet: Fleet) -> None:
    def take(_: Bundle) -> str:
        return 'in service'

    agent = fleet.agent('robot7', take)
    # The server does not know it yet, and asks what it is.
    assert 9 <= agent.step() <= 10
    assert agent.failure == ''
    assert fleet.told('robot7')['state'] == 'REGISTERED'
    assert fleet.told('robot7')['token'] == 'of-robot7'
    assert 90 <= agent.step() <= 100
    assert agent.failure == ''
    told = fleet.told('robot7')
    assert told['state'] == 'FINISHED'
    assert 'in service' in told['log']
    wanted = open_bundle(fleet.folder / 'trained').bundle_id
    assert open_bundle(fleet.folder / 'robot7' / 'PaDiM').bundle_id == wanted
    agent.step()
    assert fleet.told('robot7')['log'] == told['log']

    def refuse(_: Bundle) -> str:
        msg = 'the graph gives what is no number'
        raise RejectedError(msg)

    other = fleet.agent('robot8', refuse)
    other.step()
    other.step()
    told = fleet.told('robot8')
    assert told['state'] == 'ERROR'
    assert 'the graph gives what is no number' in told['log']
    assert Robot(fleet.folder / 'robot8').state('padim').outcome == 'refused'
