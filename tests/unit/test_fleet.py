# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Bundles are published, fetched, checked and rolled back; nothing unsigned gets in."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
import json
from pathlib import Path
from typing import Any

import builders
from file_server import serve
import numpy as np
import pytest

from adet_core.bundle import Bundle, open_bundle
from adet_core.errors import AdetError, BundleError, ConfigError, RejectedError
from adet_core.inference.detector import Detector

pytest.importorskip('cryptography', reason='cryptography is not installed')
pytest.importorskip('fsspec', reason='fsspec is not installed')

from adet_core.storage import Storage, StorageError
from adet_fleet.cli import fetch as fetch_command
from adet_fleet.cli import keygen as keygen_command
from adet_fleet.cli import publish as publish_command
from adet_fleet.fetch import fetch_release, split_address
from adet_fleet.install import Robot
from adet_fleet.keys import make_keys, Signer, TrustedKeys
from adet_fleet.publish import publish
from adet_fleet.release import Release, ReleasedFile, sign_release


class Fleet:
    """An owner with a key, a folder to publish to, and one robot."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, folder / 'store'
        self.public = make_keys(folder / 'fleet.key')
        self.signer, self.keys = Signer(folder / 'fleet.key'), TrustedKeys(self.public)
        self.robot = Robot(folder / 'models')

    @property
    def in_service(self) -> str:
        return open_bundle(self.folder / 'models' / 'PaDiM').bundle_id

    def bundle(self, seed: int, **values: Any) -> Bundle:
        bundle = builders.make_bundle(self.folder / f'trained{seed}', seed=seed, **values)
        builders.make_engine(bundle)
        return bundle

    def publish(self, bundle: Bundle, to: str = '') -> str:
        return publish(bundle.folder, to or str(self.store), self.signer)[1]

    def install(self, address: str, **options: Any) -> Any:
        source, name = split_address(address)
        release = fetch_release(source, name, self.keys, address)
        return self.robot.install(source, release, **options)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def test_a_bundle_goes_from_the_owner_into_service_and_back(fleet: Fleet) -> None:
    first, second = fleet.bundle(1), fleet.bundle(2)
    state = fleet.install(fleet.publish(first))
    assert (state.bundle_id, state.outcome) == (first.bundle_id, 'installed')
    address = fleet.publish(second)
    assert fleet.install(address).bundle_id == fleet.in_service == second.bundle_id
    # Its graph came along, and runs.
    assert Detector.load(fleet.folder / 'models' / 'PaDiM').bundle.bundle_id == second.bundle_id
    back = fleet.robot.rollback('padim')
    assert (back.bundle_id, back.outcome) == (first.bundle_id, 'rollback')
    assert fleet.in_service == first.bundle_id
    with pytest.raises(RejectedError, match='was rolled back on this robot'):
        fleet.install(address)
    assert fleet.install(address, allow_older=True).bundle_id == second.bundle_id


def test_an_old_release_that_is_sent_again_is_refused(fleet: Fleet) -> None:
    address = fleet.publish(fleet.bundle(1))
    old = Path(address).read_bytes()
    fleet.install(address)
    second = fleet.bundle(2)
    fleet.install(fleet.publish(second))
    Path(address).write_bytes(old)
    with pytest.raises(RejectedError, match='older than the last one'):
        fleet.install(address)
    assert fleet.in_service == second.bundle_id


def test_what_is_in_service_is_not_fetched_again(fleet: Fleet) -> None:
    address = fleet.publish(fleet.bundle(1))
    state = fleet.install(address)
    for file in Path(address).parent.glob('files/*'):
        file.unlink()
    assert fleet.install(address) == state


def test_nobody_else_can_publish(fleet: Fleet, tmp_path: Path) -> None:
    make_keys(tmp_path / 'other.key')
    bundle = fleet.bundle(1)
    address = publish(bundle.folder, str(fleet.store), Signer(tmp_path / 'other.key'))[1]
    with pytest.raises(BundleError, match=r'is not signed by a key of .*fleet\.key\.pub'):
        fleet.install(address)
    # A robot may trust several: the keys change while the fleet runs.
    both = tmp_path / 'both.pub'
    both.write_bytes(fleet.public.read_bytes() + (tmp_path / 'other.key.pub').read_bytes())
    fleet.keys = TrustedKeys(both)
    assert fleet.install(address).bundle_id == bundle.bundle_id


def _edit(values: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> None:
    release = json.loads(values['release'])
    change(release)
    values['release'] = json.dumps(release)


@pytest.mark.parametrize(
    'change',
    [
        lambda values: _edit(values, lambda r: r.update(number=2**62)),
        lambda values: _edit(values, lambda r: r['files'].pop('meta.json')),
        lambda values: values.update(signature='A' * 88),
        lambda values: values.update(signature='?'),
        lambda values: values.update(key='0' * 16),
        lambda values: values.pop('release'),
    ],
)
def test_a_changed_release_is_refused(fleet: Fleet, change: Callable[[Any], None]) -> None:
    address = Path(fleet.publish(fleet.bundle(1)))
    values = json.loads(address.read_bytes())
    change(values)
    address.write_text(json.dumps(values))
    with pytest.raises(BundleError, match=r'is not signed by a key|is not a release'):
        fleet.install(str(address))
    assert not (fleet.folder / 'models').exists()


@pytest.mark.parametrize('name', ['../meta.json', '/etc/passwd', 'a/b/c', 'engine/..', ''])
def test_a_release_cannot_write_elsewhere_even_if_signed(fleet: Fleet, name: str) -> None:
    release = Release(
        model='padim',
        category='plate',
        bundle_id='b',
        number=1,
        files={name: ReleasedFile('0' * 64, 1)},
    )
    data = sign_release(release, fleet.signer)
    fleet.store.mkdir()
    (fleet.store / 'latest.json').write_bytes(data)
    with pytest.raises(BundleError, match=r'NAME|plain name'):
        fleet.install(f'{fleet.store}/latest.json')


def test_a_damaged_file_changes_nothing_and_a_missing_one_is_fetched_later(fleet: Fleet) -> None:
    first, second = fleet.bundle(1), fleet.bundle(2)
    fleet.install(fleet.publish(first))
    address = fleet.publish(second)
    stored = {file: file.read_bytes() for file in Path(address).parent.glob('files/*')}
    victim = max(stored, key=lambda file: file.stat().st_mtime_ns)
    victim.write_bytes(stored[victim][:-1] + b'?')
    with pytest.raises(RejectedError, match='is damaged, or not what was signed'):
        fleet.install(address)
    assert fleet.robot.state('padim').outcome == 'refused'
    victim.write_bytes(stored[victim] + b'longer')
    with pytest.raises(RejectedError, match='is longer than'):
        fleet.install(address)
    victim.unlink()
    with pytest.raises(StorageError, match='No such file'):
        fleet.install(address)
    assert fleet.in_service == first.bundle_id
    # The others are on the robot's disk already.
    for file in stored:
        file.unlink(missing_ok=True)
    victim.write_bytes(stored[victim])
    assert fleet.install(address).bundle_id == second.bundle_id


def test_a_graph_that_judges_otherwise_is_refused(fleet: Fleet) -> None:
    first = fleet.bundle(1)
    fleet.install(fleet.publish(first))
    # It divides by these weights.
    zero = {**builders.flat_statistics(), 'inv_covariance': np.zeros(3, np.float32)}
    bad = builders.make_bundle(fleet.folder / 'bad', arrays=zero)
    builders.make_engine(bad, builders.make_graph(divide=True))
    address = fleet.publish(bad)
    with pytest.raises(RejectedError, match='no number for a golden image'):
        fleet.install(address)
    state = fleet.robot.state('padim')
    assert (state.outcome, state.bundle_id) == ('refused', first.bundle_id)
    assert 'no number for a golden image' in state.message
    assert fleet.in_service == first.bundle_id


def test_what_the_running_detector_refuses_is_back(fleet: Fleet) -> None:
    first, second = fleet.bundle(1), fleet.bundle(2)
    told: list[str] = []

    def take(bundle: Bundle) -> str:
        told.append(bundle.bundle_id)
        return 'in service'

    def refuse(bundle: Bundle) -> str:
        told.append(bundle.bundle_id)
        msg = 'too little memory'
        raise RejectedError(msg)

    assert fleet.install(fleet.publish(first), load=take).message == 'in service'
    with pytest.raises(RejectedError, match='is not taken: too little memory'):
        fleet.install(fleet.publish(second), load=refuse)
    assert told == [first.bundle_id, second.bundle_id]
    assert fleet.in_service == first.bundle_id


def test_a_model_without_an_earlier_bundle_cannot_be_back(fleet: Fleet) -> None:
    with pytest.raises(BundleError, match='keeps no bundle of padim before the present one'):
        fleet.robot.rollback('padim')


def test_a_bundle_without_a_graph_is_not_published(fleet: Fleet) -> None:
    bundle = builders.make_bundle(fleet.folder / 'plain')
    with pytest.raises(BundleError, match='has no graph for robots; run: adet export'):
        fleet.publish(bundle)
    assert not fleet.store.exists()


# ---- over HTTP


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with serve(tmp_path / 'served') as address:
        yield address


def test_http_publishes_and_fetches(fleet: Fleet, url: str) -> None:
    pytest.importorskip('aiohttp', reason='aiohttp is not installed')
    bundle = fleet.bundle(1)
    address = fleet.publish(bundle, url)
    assert address == f'{url}/padim/plate/latest.json'
    assert fleet.install(address).bundle_id == bundle.bundle_id
    with pytest.raises(StorageError, match=r'none\.json: 404'):
        fleet.install(f'{url}/none.json')


# ---- the commands


def run(command: Any, *words: object) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    result: dict[str, Any] = command.run(parser.parse_args([str(word) for word in words]))
    return result


def test_the_commands_do_the_same(tmp_path: Path, bundle_folder: Path, capsys: Any) -> None:
    key, models = tmp_path / 'k' / 'fleet.key', tmp_path / 'models'
    assert run(keygen_command, key)['public_key'] == f'{key}.pub'
    assert key.stat().st_mode & 0o777 == 0o600
    published = run(publish_command, bundle_folder, '--to', tmp_path / 'store', '--key', key)
    assert published['next'] == f'adet fetch {published["release"]} --key {key}.pub'
    words = (published['release'], '--key', f'{key}.pub', '--models-root', models)
    fetched = run(fetch_command, *words)
    assert fetched['bundle_id'] == published['bundle_id']
    for command, result in (
        (keygen_command, {'private_key': 'a', 'public_key': 'b'}),
        (publish_command, published),
        (fetch_command, fetched),
    ):
        command.show(result)
    assert 'installed: bundle' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        ([], 'needs the URL of a release and --key FILE, or --rollback M'),
        (['a.json', '--key', 'none.pub'], 'none.pub: No such file or directory; make a pair'),
    ],
)
def test_wrong_words_of_fetch_are_one_line(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        run(fetch_command, *words)


def test_keys_are_neither_overwritten_nor_read_by_others(tmp_path: Path) -> None:
    key = tmp_path / 'fleet.key'
    public = make_keys(key)
    with pytest.raises(ConfigError, match=r'fleet\.key: is there already'):
        make_keys(key)
    public.chmod(0o600)
    with pytest.raises(ConfigError, match='holds no such Ed25519 key'):
        Signer(public)
    with pytest.raises(ConfigError, match='holds no such Ed25519 key'):
        TrustedKeys(key)
    key.chmod(0o644)
    with pytest.raises(ConfigError, match='others may read the private key; run: chmod 600'):
        Signer(key)


def test_an_address_that_needs_another_library_says_which() -> None:
    with pytest.raises(AdetError, match='pip install'):
        Storage('nonsense://bucket/folder')
