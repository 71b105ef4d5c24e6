# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The agent against a server that follows the documented contract of hawkBit's DDI."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path

import builders
from hawkbit import HawkBit, TOKEN
import pytest

from adet_core.bundle import Bundle, open_bundle
from adet_core.errors import ConfigError, RejectedError

pytest.importorskip('cryptography', reason='cryptography is not installed')
pytest.importorskip('fsspec', reason='fsspec is not installed')

from adet_fleet.agent import Agent
from adet_fleet.ddi import DdiClient
from adet_fleet.install import Robot
from adet_fleet.keys import make_keys, Signer, TrustedKeys
from adet_fleet.publish import publish


class World:
    """A server, an owner, and a robot whose agent polls."""

    def __init__(self, folder: Path) -> None:
        self.hawkbit, self.folder = HawkBit(), folder
        public = make_keys(folder / 'fleet.key')
        self._signer = Signer(folder / 'fleet.key')
        self.loaded: list[str] = []
        self.refusal = ''
        self.agent = Agent(
            DdiClient(self.hawkbit.url, 'DEFAULT', 'robot 7', TOKEN),
            Robot(folder / 'models'),
            TrustedKeys(public),
            load=self._load,
            config_data={'adet': '0.1.0'},
        )

    def _load(self, bundle: Bundle) -> str:
        if self.refusal:
            raise RejectedError(self.refusal)
        self.loaded.append(bundle.bundle_id)
        return 'the padim detector inspects with it'

    def roll_out(self, seed: int, action: str) -> str:
        """Publish a bundle and upload every file; returns its id."""
        bundle = builders.make_bundle(self.folder / f'trained{seed}', seed=seed)
        builders.make_engine(bundle)
        publish(bundle.folder, str(self.folder / 'store'), self._signer)
        files = (self.folder / 'store' / 'padim' / 'plate').rglob('*')
        self.hawkbit.artifacts = {p.name: p.read_bytes() for p in files if p.is_file()}
        self.hawkbit.action = action
        return bundle.bundle_id

    @property
    def in_service(self) -> str:
        return open_bundle(self.folder / 'models' / 'PaDiM').bundle_id


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.hawkbit.close()


def test_a_roll_out_is_taken_and_reported(world: World) -> None:
    assert 90 <= world.agent.step() <= 100
    assert world.hawkbit.attributes == {'adet': '0.1.0'}
    assert world.hawkbit.feedback == []
    bundle_id = world.roll_out(1, '41')
    world.agent.step()
    assert world.hawkbit.feedback == [('41', 'proceeding', 'none'), ('41', 'closed', 'success')]
    assert 'the padim detector inspects with it' in world.hawkbit.details[-1]
    assert world.in_service == bundle_id
    assert world.loaded == [bundle_id]
    world.agent.step()
    assert len(world.hawkbit.feedback) == 2
    assert world.agent.failure == ''


def test_what_the_detector_refuses_is_a_failure_with_its_reason(world: World) -> None:
    first = world.roll_out(1, '41')
    world.agent.step()
    world.roll_out(2, '42')
    world.refusal = 'the graph gives what is no number'
    world.agent.step()
    assert world.hawkbit.feedback[-1] == ('42', 'closed', 'failure')
    assert world.hawkbit.details[-1].endswith('the graph gives what is no number')
    assert world.in_service == first
    assert 'deployment 42 failed' in world.agent.failure
    world.agent.step()
    assert world.agent.failure == ''


def test_what_is_not_signed_or_not_whole_is_a_failure(world: World) -> None:
    world.roll_out(1, '41')
    name = next(one for one in world.hawkbit.artifacts if not one.endswith('.json'))
    data = world.hawkbit.artifacts.pop(name)
    world.agent.step()
    assert world.hawkbit.feedback[-1] == ('41', 'closed', 'failure')
    assert f'has no artifact {name}' in world.hawkbit.details[-1]
    world.hawkbit.artifacts[name], world.hawkbit.action = data + b'more', '42'
    world.agent.step()
    assert 'longer than' in world.hawkbit.details[-1]
    release = json.loads(world.hawkbit.artifacts['latest.json'])
    release['release'] = release['release'].replace('plate', 'plane')
    world.hawkbit.artifacts['latest.json'] = json.dumps(release).encode()
    world.hawkbit.action = '43'
    world.agent.step()
    assert 'is not signed by a key' in world.hawkbit.details[-1]
    assert not (world.folder / 'models' / 'PaDiM').exists()


def test_a_server_that_fails_at_any_request_is_asked_again(world: World) -> None:
    bundle_id = world.roll_out(1, '41')
    failed = 0
    while world.hawkbit.action:
        failed += 1
        assert failed < 40
        # One request more is answered than in the step before.
        world.hawkbit.failing = failed + 1
        world.agent.step()
        assert bool(world.hawkbit.action) == ('answers 503' in world.agent.failure)
    # At least once for each kind of request.
    assert failed > 6
    assert world.hawkbit.feedback[-1] == ('41', 'closed', 'success')
    assert world.in_service == bundle_id
    assert world.loaded == [bundle_id]


def test_feedback_that_was_lost_is_sent_at_the_next_poll(world: World) -> None:
    bundle_id = world.roll_out(1, '41')
    world.agent.step()
    # As if the robot was switched off between the installation and the report.
    world.hawkbit.action = '41'
    world.agent.step()
    assert world.hawkbit.feedback[-1] == ('41', 'closed', 'success')
    assert world.loaded == [bundle_id]


def test_a_deployment_waits_for_its_window_and_can_be_cancelled(world: World) -> None:
    world.roll_out(1, '41')
    world.hawkbit.update = 'skip'
    world.agent.step()
    assert world.hawkbit.feedback == []
    world.hawkbit.cancelling = True
    world.agent.step()
    assert world.hawkbit.feedback == [('c1', 'closed', 'success')]
    assert world.loaded == []


def test_the_token_stays_with_the_server(world: World) -> None:
    other = HawkBit()
    bundle_id = world.roll_out(1, '41')
    other.artifacts = world.hawkbit.artifacts
    world.hawkbit.elsewhere = f'{other.url}/elsewhere'
    world.agent.step()
    other.close()
    assert world.in_service == bundle_id
    assert set(other.strangers) == {None}


def test_a_server_that_answers_nonsense_is_a_failure_to_report(world: World) -> None:
    client = DdiClient(world.hawkbit.url, 'DEFAULT', 'robot 7', 'TargetToken wrong')
    agent = Agent(client, Robot(world.folder), world.agent._keys)
    assert 270 <= agent.step() <= 300
    assert 'answers 401' in agent.failure
    with pytest.raises(ConfigError, match="server is 'robot', expected https://HOST"):
        DdiClient('robot', 'DEFAULT', 'a', '')
