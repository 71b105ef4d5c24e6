# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Bundles, bags and results in an object store and on servers with certificates."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import ssl
import subprocess
import sys
import threading
from typing import Any

import builders
from file_server import serve
from hawkbit import HawkBit, TOKEN
import pytest

from adet_core.bundle import open_bundle
from adet_core.errors import ConfigError

pytest.importorskip('cryptography', reason='cryptography is not installed')
pytest.importorskip('fsspec', reason='fsspec is not installed')

from authority import Authority

from adet_core.storage import Storage, StorageError
from adet_fleet.ddi import DdiClient
from adet_fleet.fetch import fetch_release, split_address
from adet_fleet.install import Robot
from adet_fleet.keys import make_keys, Signer, TrustedKeys
from adet_fleet.publish import publish
from adet_forwarder.message import Message
from adet_forwarder.outputs.output import OutputError
from adet_forwarder.outputs.upload import UploadOutput
from adet_forwarder.settings import UploadSettings

BUCKET = 's3://line1'


@pytest.fixture(scope='module')
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """The one that signs the servers' certificates, and one that nobody knows."""
    folder = tmp_path_factory.mktemp('authorities')
    return Authority(folder, 'ours'), Authority(folder, 'theirs')


# ---- https


def adet(*words: object, trust: Path) -> subprocess.CompletedProcess[str]:
    """A command, in a process of its own: certificates are read when it starts."""
    return subprocess.run(
        [sys.executable, '-m', 'adet_core', *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, 'SSL_CERT_FILE': str(trust)},
    )


def test_https_is_used_with_the_right_certificate_alone(
    tmp_path: Path, bundle_folder: Path, authorities: tuple[Authority, Authority]
) -> None:
    pytest.importorskip('aiohttp', reason='aiohttp is not installed')
    ours, theirs = authorities
    make_keys(tmp_path / 'fleet.key')
    key, models = ('--key', tmp_path / 'fleet.key'), tmp_path / 'models'
    public = ('--key', tmp_path / 'fleet.key.pub', '--models-root', models)
    with serve(tmp_path / 'served', ours.context()) as url:
        refused = adet('publish', bundle_folder, '--to', url, *key, trust=theirs.file)
        assert refused.returncode == 1
        assert 'certificate verify failed' in refused.stderr
        assert refused.stderr.count('\n') == 1
        assert 'SSL_CERT_FILE' in refused.stderr
        assert not (tmp_path / 'served' / 'bundles').exists()
        done = adet('publish', bundle_folder, '--to', url, *key, trust=ours.file)
        assert done.returncode == 0, done.stderr
        release = f'{url}/padim/plate/latest.json'
        done = adet('fetch', release, *public, trust=ours.file)
        assert done.returncode == 0, done.stderr
    assert open_bundle(models / 'PaDiM').bundle_id == open_bundle(bundle_folder).bundle_id
    with serve(tmp_path / 'served', ours.context(ended_days_ago=1)) as url:
        expired = adet('fetch', f'{url}/padim/plate/latest.json', *public, trust=ours.file)
    assert expired.returncode == 1
    assert 'certificate has expired' in expired.stderr
    assert expired.stderr.count('\n') == 1


def test_the_agent_trusts_its_own_certificates_alone(
    authorities: tuple[Authority, Authority],
) -> None:
    ours, theirs = authorities
    for trust, ended, told in (
        (ours, -30, ''),
        (theirs, -30, 'certificate verify failed'),
        (ours, 1, 'certificate has expired'),
    ):
        server = HawkBit(ours.context(ended))
        context = ssl.create_default_context(cafile=str(trust.file))
        client = DdiClient(server.url, 'DEFAULT', 'robot 7', TOKEN, context=context)
        try:
            if told:
                with pytest.raises(StorageError, match=told):
                    client.poll()
            else:
                assert client.poll().sleep_s == 100
        finally:
            server.close()


# ---- an object store


@pytest.fixture
def store(
    monkeypatch: pytest.MonkeyPatch, authorities: tuple[Authority, Authority]
) -> Iterator[Any]:
    """A stand-in of S3 behind https, with a bucket."""
    s3fs = pytest.importorskip('s3fs', reason='s3fs is not installed')
    moto = pytest.importorskip('moto.server', reason='moto is not installed')
    from werkzeug.serving import make_server

    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'robot')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', 'secret')
    monkeypatch.setenv('AWS_REGION', 'us-east-1')
    monkeypatch.setenv('AWS_CA_BUNDLE', str(authorities[0].file))
    monkeypatch.setenv('AWS_MAX_ATTEMPTS', '1')
    certificate = tuple(str(path) for path in authorities[0].server())
    application = moto.DomainDispatcherApplication(moto.create_backend_app)
    server = make_server('127.0.0.1', 0, application, threaded=True, ssl_context=certificate)
    monkeypatch.setenv('AWS_ENDPOINT_URL', f'https://127.0.0.1:{server.server_port}')
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem(use_listings_cache=False)
    # The stand-in keeps what it has from one test to the next.
    if not files.exists(BUCKET):
        files.mkdir(BUCKET)
    yield files
    s3fs.S3FileSystem.clear_instance_cache()
    server.shutdown()
    server.server_close()


def test_an_object_store_publishes_and_fetches(store: Any, tmp_path: Path) -> None:
    keys = TrustedKeys(make_keys(tmp_path / 'fleet.key'))
    signer = Signer(tmp_path / 'fleet.key')
    bundle = builders.make_bundle(tmp_path / 'trained', seed=1)
    builders.make_engine(bundle)
    address = publish(bundle.folder, f'{BUCKET}/bundles', signer)[1]
    assert address == f'{BUCKET}/bundles/padim/plate/latest.json'
    sent = {name: store.info(name)['LastModified'] for name in store.find(f'{BUCKET}/bundles')}
    publish(bundle.folder, f'{BUCKET}/bundles', signer)
    # What is there already is not sent again.
    again = {name: store.info(name)['LastModified'] for name in sent if '/files/' in name}
    assert again == {name: sent[name] for name in again}
    assert len(again) > 3
    source, name = split_address(address)
    robot = Robot(tmp_path / 'models')
    robot.install(source, fetch_release(source, name, keys, address))
    assert open_bundle(tmp_path / 'models' / 'PaDiM').bundle_id == bundle.bundle_id
    with pytest.raises(StorageError, match=r'none\.json: '):
        fetch_release(source, 'none.json', keys, address)
    with pytest.raises(StorageError, match=r's3://nowhere/.*: .*does not exist'):
        publish(bundle.folder, 's3://nowhere', signer)


def test_results_are_uploaded_to_an_object_store(
    store: Any, tmp_path: Path, authorities: tuple[Authority, Authority], monkeypatch: Any
) -> None:
    settings = UploadSettings(to=f'{BUCKET}/results', rows=2)
    row = Message('id7', 'padim', '{"time": "2026-01-02T03:04:05", "score": 1.5}')
    output = UploadOutput(settings, 'robot1', tmp_path / 'done.db')
    assert output.deliver([row, row]) == 2
    output.close()
    (name,) = store.find(f'{BUCKET}/results')
    assert name == 'line1/results/robot1/padim/2026-01-02/id7.jsonl'
    assert store.cat(name) == (row.text + '\n').encode() * 2
    # A store whose certificate nobody vouches for gets nothing, and says so.
    monkeypatch.setenv('AWS_CA_BUNDLE', str(authorities[1].file))
    type(store).clear_instance_cache()
    output = UploadOutput(settings, 'robot1', tmp_path / 'done.db')
    with pytest.raises(OutputError, match=r'certificate verify failed.*AWS_CA_BUNDLE') as caught:
        output.deliver([row, row])
    assert '\n' not in str(caught.value)
    output.close()


def test_bags_of_an_object_store_are_listed_and_copied(store: Any, tmp_path: Path) -> None:
    inputs = pytest.importorskip('adet_training.batch.inputs')
    for name in ('b.mcap', 'a.mcap', 'a.txt'):
        store.pipe(f'{BUCKET}/bags/{name}', name.encode())
    found = inputs.expand(f'{BUCKET}/bags/*.mcap')
    assert found == [f'{BUCKET}/bags/a.mcap', f'{BUCKET}/bags/b.mcap']
    assert inputs.copy_here(found[1], tmp_path).read_bytes() == b'b.mcap'
    before = inputs.fingerprint('evaluate', [], {'bag': found[0]}, [])
    store.pipe(f'{BUCKET}/bags/a.mcap', b'other')
    # Within a batch a listing is remembered; the next one looks again.
    type(store).clear_instance_cache()
    assert inputs.fingerprint('evaluate', [], {'bag': found[0]}, []) != before


def test_a_storage_without_its_library_says_which() -> None:
    with pytest.raises(ConfigError, match=r"gs://line1: .*pip install 'fsspec\[gs\]'"):
        Storage('gs://line1')
