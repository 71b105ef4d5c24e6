# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The console without ROS and without a browser: history, passwords, images, and the server."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

aiohttp = pytest.importorskip('aiohttp', reason='aiohttp is not installed')

from aiohttp.test_utils import TestClient, TestServer  # noqa: E402
import builders  # noqa: E402
import cv2  # noqa: E402

from adet_console.cli import console_password  # noqa: E402
from adet_console.collector import Collector  # noqa: E402
from adet_console.frames import encode, Frame, FrameStore, pack  # noqa: E402
from adet_console.history import History, Verdict  # noqa: E402
from adet_console.security import (  # noqa: E402
    check_password,
    Guard,
    hash_password,
    read_passwords,
)
from adet_console.server import Console  # noqa: E402
from adet_core.errors import ConfigError, ImageError  # noqa: E402
from adet_core.image import Image  # noqa: E402
from adet_core.records import Record  # noqa: E402

KEY = '/line1/padim'


def verdict(stamp: int, score: float = 1.0, **values: Any) -> Verdict:
    return Verdict(
        **{
            'stamp': stamp,
            'score': score,
            'normalised_score': 0.5,
            'threshold': 2.0,
            'is_anomalous': score >= 2,
            'is_uncertain': False,
            'inference_ms': 5.0,
            'bundle_id': 'b',
            **values,
        }
    )


# ---- history


def test_a_history_keeps_the_last_verdicts_and_counts_all() -> None:
    history = History(limit=3)
    assert all(history.add(verdict(n, score=n)) for n in range(1, 6))
    assert [one['stamp'] for one in history.to_json()] == ['3', '4', '5']
    counted = history.counters.to_json()
    assert (counted['inspected'], counted['rejected']) == (5, 4)
    low, high = counted['reject_interval']
    assert low < counted['reject_rate'] == 0.8 < high


def test_a_result_that_is_sent_again_counts_once() -> None:
    history = History()
    assert history.add(verdict(7))
    assert not history.add(verdict(7))
    assert history.counters.inspected == 1


def test_what_was_not_inspected_is_counted_apart() -> None:
    history = History()
    history.add(verdict(1, error='cannot be decoded'))
    assert (history.counters.inspected, history.counters.refused) == (0, 1)
    assert 'reject_rate' not in history.counters.to_json()


def test_earlier_rows_are_shown_and_not_counted() -> None:
    row = Record(stamp_ns=3, frame_id='', source='', label='', model='padim', score=4.0)
    history = History()
    history.fill([row])
    assert history.to_json()[0]['score'] == 4.0
    assert history.counters.inspected == 0


def test_a_mark_stays_with_its_image() -> None:
    history = History()
    history.add(verdict(1))
    marked = history.mark(1, 'fine')
    assert marked is not None
    assert marked.mark == history.to_json()[0]['mark'] == 'fine'
    assert history.mark(2, 'bad') is None


def test_a_new_shift_begins_at_zero() -> None:
    history = History()
    history.add(verdict(1))
    history.begin_shift()
    assert history.counters.inspected == 0
    assert len(history.to_json()) == 1


# ---- images


def test_an_image_is_sent_no_wider_than_it_is_shown() -> None:
    image = np.zeros((400, 2000, 3), np.uint8)
    assert cv2.imdecode(np.frombuffer(encode(image, 480), np.uint8), 1).shape == (96, 480, 3)
    assert cv2.imdecode(np.frombuffer(encode(image, 4000), np.uint8), 1).shape == (400, 2000, 3)


def test_a_preview_is_passed_on_as_it_is_where_it_fits() -> None:
    jpeg = encode(np.zeros((100, 200, 3), np.uint8), 200)
    frame = Frame(7, None, jpeg)
    assert pack(frame, 200) == (7).to_bytes(8, 'big') + len(jpeg).to_bytes(4, 'big') + jpeg + jpeg
    smaller = np.frombuffer(pack(frame, 100)[12:], np.uint8)
    assert cv2.imdecode(smaller, 1).shape == (50, 100, 3)


def test_a_preview_that_is_no_jpeg_is_refused_and_not_kept(tmp_path: Path) -> None:
    broken = Frame(7, None, b'<script>')
    with pytest.raises(ImageError, match='no JPEG'):
        pack(broken, 480)
    store = FrameStore(tmp_path)
    store.add(KEY, broken)
    assert store.get(KEY, 7) is None


def test_the_store_forgets_the_oldest_and_finds_what_a_detector_stored(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (480, 480, 3), np.uint8)
    store = FrameStore(tmp_path)
    jpeg = encode(noise, 480)
    size = len(pack(Frame(0, jpeg, jpeg), 480))
    count = (96 << 20) // size + 5
    for stamp in range(count):
        store.add(KEY, Frame(stamp, jpeg, jpeg))
    assert store.get(KEY, 0) is None
    assert store.get(KEY, count - 1) is not None
    folder = tmp_path / 'review' / 'plate'
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / 'frame_123456.png'), noise)
    assert store.get(KEY, 123456) is not None


# ---- who may do what


def test_a_password_is_stored_as_a_salted_hash() -> None:
    first, second = hash_password('correct horse'), hash_password('correct horse')
    assert first != second
    assert 'correct' not in first
    assert check_password('correct horse', first)
    assert not check_password('correct hors', first)


def test_no_console_is_open_to_others_without_a_password() -> None:
    with pytest.raises(ConfigError, match='give a password_file'):
        Guard('0.0.0.0', {})
    assert Guard('127.0.0.1', {}).is_open
    assert Guard('::1', {}).is_open


def test_passwords_are_read_from_a_file_of_the_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'passwords'
    arguments = argparse.Namespace(file=path, role='viewer')
    monkeypatch.setattr('sys.stdin', Line('look at it\n'))
    console_password.run(arguments)
    arguments.role = 'operator'
    monkeypatch.setattr('sys.stdin', Line('act on it\n'))
    console_password.run(arguments)
    assert set(read_passwords(path)) == {'viewer', 'operator'}
    path.chmod(0o644)
    with pytest.raises(ConfigError, match='chmod 600'):
        read_passwords(path)


class Line:
    """A standard input of one line that is no terminal."""

    def __init__(self, text: str) -> None:
        self._text = text

    def isatty(self) -> bool:
        return False

    def readline(self) -> str:
        return self._text


@pytest.mark.parametrize('text', ['', 'operator:plain\n', 'admin:' + 'x', 'operator:scrypt$1$2\n'])
def test_a_file_of_passwords_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / 'passwords'
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match='passwords: '):
        read_passwords(path)


def test_after_five_wrong_passwords_a_client_has_to_wait() -> None:
    guard = Guard('192.168.0.7', {'operator': hash_password('right one')})
    for _ in range(5):
        assert guard.log_in('wrong', 'me', 'client') is None
    with pytest.raises(PermissionError, match='wait a minute'):
        guard.log_in('right one', 'me', 'client')
    assert guard.log_in('right one', 'me', 'another client')


@pytest.mark.parametrize(
    ('header', 'allowed'),
    [
        ('127.0.0.1:8765', True),
        ('localhost', True),
        ('robot.local:8765', True),
        ('evil.example', False),
        ('127.0.0.1.evil.example', False),
        ('', False),
    ],
)
def test_only_the_names_of_this_machine_are_answered(header: str, allowed: bool) -> None:
    assert Guard('127.0.0.1', {}, 'robot.local').allows_host(header) is allowed


# ---- the server


class Graph:
    """An inspection of one detector, in memory."""

    def __init__(self) -> None:
        self.history = History()
        self.detectors = {KEY: self}
        self.watchers = 0
        self.bundle = ('', '')
        self.threshold = 2.0
        self.category = 'plate'
        self.marks: list[tuple[int, str]] = []
        self.goals: list[tuple[str, list[str], str]] = []
        self.collects = False

    def overview(self) -> list[dict[str, Any]]:
        return [{'key': KEY, 'counters': self.history.counters.to_json()}]

    def health(self) -> list[dict[str, Any]]:
        return [
            {
                'name': '/line1/padim_detector',
                'level': 'ok',
                'message': 'ok',
                'values': {'fps': '7.5', 'backend': 'onnxruntime'},
            }
        ]

    def find(self, key: str) -> Graph:
        if key != KEY:
            msg = f'no detector {key!r}'
            raise ConfigError(msg)
        return self

    def bundle_of(self, key: str) -> tuple[str, str]:
        self.find(key)
        return self.bundle

    def watch(self, key: str, change: int) -> None:
        assert key == KEY
        self.watchers += change

    async def set_threshold(self, key: str, value: float) -> float:
        self.find(key)
        before, self.threshold = self.threshold, value
        return before

    async def set_category(self, key: str, category: str) -> str:
        self.find(key)
        if category not in {'plate', 'lid'}:
            raise ConfigError(f'category is {category!r}')
        before, self.category = self.category, category
        return before

    async def mark(self, key: str, stamp: int, verdict: str, note: str) -> str:  # noqa: ARG002
        self.find(key).marks.append((stamp, verdict))
        return 'stored'

    async def retrain(self, key: str, mode: str, overrides: list[str], category: str = '') -> None:
        self.find(key).goals.append((mode, overrides, category))

    def collect(self, key: str, on: bool) -> None:
        self.find(key).collects = on

    async def cancel(self, key: str) -> None:
        self.find(key)


def served(
    tmp_path: Path,
    talk: Callable[[TestClient[Any, Any], Graph, Console], Awaitable[None]],
    passwords: dict[str, str] | None = None,
) -> None:
    """Run a conversation with a console."""

    async def run() -> None:
        graph = Graph()
        console = Console(
            graph,
            Guard('127.0.0.1', passwords or {}),
            audit=tmp_path / 'audit.jsonl',
            store=FrameStore(tmp_path),
            collector=Collector(tmp_path),
        )
        async with TestClient(TestServer(console.app)) as client:
            await talk(client, graph, console)

    asyncio.run(run())


def origin(client: TestClient[Any, Any]) -> dict[str, str]:
    return {'Origin': f'http://127.0.0.1:{client.port}'}


def test_every_file_of_the_page_is_served_with_a_strict_policy(tmp_path: Path) -> None:
    async def talk(client: TestClient[Any, Any], *_: Any) -> None:
        for path in ('/', '/app.js', '/vendor/uPlot.esm.js', '/i18n/ja.json', '/console.css'):
            answer = await client.get(path)
            assert answer.status == 200, path
            assert "default-src 'none'" in answer.headers['Content-Security-Policy']
            assert 'unsafe' not in answer.headers['Content-Security-Policy']

    served(tmp_path, talk)


def test_the_page_is_told_what_the_bundle_knows_of_its_threshold(tmp_path: Path) -> None:
    bundle = builders.make_bundle(tmp_path / 'PaDiM')

    async def talk(client: TestClient[Any, Any], graph: Graph, _: Console) -> None:
        async def known(key: str = KEY) -> Any:
            answer = await client.get('/api/known', params={'detector': key})
            return answer.status, await answer.json()

        graph.bundle = (str(bundle.folder), bundle.bundle_id)
        status, found = await known()
        assert status == 200
        assert found['detail'] == 'from normal images'
        assert list(found['kinds']) == ['normals', 'anomalies', 'made_up_faint']
        assert found['kinds']['normals']['scores'] == [1.0, 2.0]
        assert len(found['kinds']['normals']['intervals']) == 3
        # Another bundle came meanwhile, or the detector runs elsewhere.
        for other in ((str(bundle.folder), 'another'), ('/nowhere', bundle.bundle_id)):
            graph.bundle = other
            assert await known() == (200, None)
        assert (await known('/none'))[0] == 409

    served(tmp_path, talk)


@pytest.mark.parametrize(
    'path',
    ['/../server.py', '/%2e%2e/server.py', '/vendor/../../server.py', '/api/frame?stamp=..%2f'],
)
def test_no_path_leads_out_of_the_page(tmp_path: Path, path: str) -> None:
    async def talk(client: TestClient[Any, Any], *_: Any) -> None:
        answer = await client.get(path)
        assert answer.status in {400, 404}

    served(tmp_path, talk)


def test_an_operator_changes_the_threshold_and_the_log_says_who(tmp_path: Path) -> None:
    async def talk(client: TestClient[Any, Any], graph: Graph, _: Console) -> None:
        body = {'detector': KEY, 'value': 3.5}
        answer = await client.post('/api/threshold', json=body, headers=origin(client))
        assert await answer.json() == {'before': 2.0, 'value': 3.5}
        assert graph.threshold == 3.5

    served(tmp_path, talk)
    (entry,) = map(json.loads, (tmp_path / 'audit.jsonl').read_text().splitlines())
    assert (entry['what'], entry['who'], entry['result']['value']) == ('threshold', 'local', 3.5)


def test_an_operator_changes_the_category_and_the_log_says_from_which(tmp_path: Path) -> None:
    passwords = {'viewer': hash_password('look at it'), 'operator': hash_password('act on it')}

    async def talk(client: TestClient[Any, Any], graph: Graph, _: Console) -> None:
        async def ask(category: str) -> Any:
            body = {'detector': KEY, 'value': category}
            answer = await client.post('/api/category', json=body, headers=origin(client))
            return answer.status, await answer.text()

        async def log_in(password: str) -> None:
            await client.post('/api/login', json={'password': password}, headers=origin(client))

        await log_in('look at it')
        assert (await ask('lid'))[0] == 403
        await log_in('act on it')
        assert await ask('lid') == (200, '{"before": "plate", "value": "lid"}')
        assert graph.category == 'lid'
        assert await ask('cup') == (409, '{"error": "category is \'cup\'"}')
        assert graph.category == 'lid'

    served(tmp_path, talk, passwords)
    log = [json.loads(line) for line in (tmp_path / 'audit.jsonl').read_text().splitlines()]
    assert [(entry['what'], entry['result']) for entry in log] == [
        ('category', {'before': 'plate', 'value': 'lid'}),
        ('category', {'error': "category is 'cup'"}),
    ]


@pytest.mark.parametrize('value', ['nan', 'inf', None, 'text'])
def test_an_impossible_threshold_is_refused(tmp_path: Path, value: Any) -> None:
    async def talk(client: TestClient[Any, Any], graph: Graph, _: Console) -> None:
        body = {'detector': KEY, 'value': value}
        answer = await client.post('/api/threshold', json=body, headers=origin(client))
        assert answer.status == 400
        assert graph.threshold == 2.0

    served(tmp_path, talk)


def test_an_error_of_the_graph_is_one_line_for_the_page(tmp_path: Path) -> None:
    async def talk(client: TestClient[Any, Any], *_: Any) -> None:
        body = {'detector': '/nobody', 'stamp': '5', 'verdict': 'fine'}
        answer = await client.post('/api/mark', json=body, headers=origin(client))
        assert answer.status == 409
        assert await answer.json() == {'error': "no detector '/nobody'"}

    served(tmp_path, talk)


def test_a_request_of_another_web_site_is_refused(tmp_path: Path) -> None:
    async def talk(client: TestClient[Any, Any], graph: Graph, _: Console) -> None:
        body = {'detector': KEY, 'value': 9.0}
        for headers in ({}, {'Origin': 'http://evil.example'}):
            answer = await client.post('/api/threshold', json=body, headers=headers)
            assert answer.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect('/api/live', headers={'Origin': 'http://evil.example'})
        assert refused.value.status == 403
        rebound = await client.get('/api/state', headers={'Host': 'evil.example'})
        assert rebound.status == 421
        assert graph.threshold == 2.0

    served(tmp_path, talk)


def test_roles_are_kept(tmp_path: Path) -> None:
    passwords = {'viewer': hash_password('look at it'), 'operator': hash_password('act on it')}

    async def talk(client: TestClient[Any, Any], graph: Graph, _: Console) -> None:
        assert (await client.get('/api/state')).status == 401
        assert (await client.get('/metrics')).status == 401
        body = {'detector': KEY, 'value': 9.0}

        async def log_in(password: str) -> int:
            login = {'name': 'Ada', 'password': password}
            return (await client.post('/api/login', json=login, headers=origin(client))).status

        assert await log_in('wrong') == 401
        assert await log_in('look at it') == 200
        assert (await (await client.get('/api/state')).json())['role'] == 'viewer'
        answer = await client.post('/api/threshold', json=body, headers=origin(client))
        assert answer.status == 403
        assert graph.threshold == 2.0
        assert await log_in('act on it') == 200
        answer = await client.post('/api/threshold', json=body, headers=origin(client))
        assert answer.status == 200
        await client.post('/api/logout', json={}, headers=origin(client))
        assert (await client.get('/api/state')).status == 401

    served(tmp_path, talk, passwords)
    assert json.loads((tmp_path / 'audit.jsonl').read_text().splitlines()[0])['who'] == 'Ada'


def test_a_large_request_and_a_large_message_end_the_connection(tmp_path: Path) -> None:
    async def talk(client: TestClient[Any, Any], *_: Any) -> None:
        body = {'detector': KEY, 'value': 1.0, 'more': 'x' * 100_000}
        answer = await client.post('/api/threshold', json=body, headers=origin(client))
        assert answer.status in {400, 413}
        socket = await client.ws_connect('/api/live', headers=origin(client))
        await socket.send_str('x' * 100_000)
        await asyncio.wait_for(socket.receive(), 10)
        assert socket.closed

    served(tmp_path, talk)


def test_the_number_of_open_pages_is_bounded(tmp_path: Path) -> None:
    async def talk(client: TestClient[Any, Any], *_: Any) -> None:
        sockets = [await client.ws_connect('/api/live', headers=origin(client)) for _ in range(64)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect('/api/live', headers=origin(client))
        assert refused.value.status == 503
        await sockets[0].close()
        await asyncio.sleep(0.1)
        again = await client.ws_connect('/api/live', headers=origin(client))
        await again.close()

    served(tmp_path, talk)


def test_images_come_only_to_those_who_watch_and_the_newest_wins(tmp_path: Path) -> None:
    async def talk(client: TestClient[Any, Any], graph: Graph, console: Console) -> None:
        watching = await client.ws_connect('/api/live', headers=origin(client))
        await watching.send_json({'detector': KEY, 'width': 400})
        other = await client.ws_connect('/api/live', headers=origin(client))
        while graph.watchers != 1:
            await asyncio.sleep(0.01)
        image = encode(np.zeros((50, 80, 3), np.uint8), 80)
        for stamp in range(1, 30):
            console.on_frame(KEY, Frame(stamp, image, image))
        console.on_event({'type': 'health', 'nodes': []})
        stamps, texts = [], 0
        while not texts or stamps[-1:] != [29]:
            message = await asyncio.wait_for(watching.receive(), 10)
            if message.type == aiohttp.WSMsgType.BINARY:
                stamps.append(int.from_bytes(message.data[:8], 'big'))
            else:
                texts += 1
        # What was offered while another one was on its way was passed over.
        assert len(stamps) < 29
        assert stamps == sorted(stamps)
        message = await asyncio.wait_for(other.receive(), 10)
        assert message.type == aiohttp.WSMsgType.TEXT
        await watching.close()
        while graph.watchers:
            await asyncio.sleep(0.01)
        await other.close()

    served(tmp_path, talk)


def test_prometheus_reads_the_counters(tmp_path: Path) -> None:
    async def talk(client: TestClient[Any, Any], graph: Graph, _: Console) -> None:
        graph.history.add(verdict(1, score=5))
        text = await (await client.get('/metrics')).text()
        assert f'adet_rejected_images_total{{detector="{KEY}"}} 1.0\n' in text
        assert 'adet_node_healthy{node="/line1/padim_detector"} 1.0\n' in text
        assert 'adet_node_value{key="fps",node="/line1/padim_detector"} 7.5\n' in text
        assert 'onnxruntime' not in text

    pytest.importorskip('prometheus_client', reason='prometheus_client is not installed')
    served(tmp_path, talk)


def test_prometheus_gives_a_password_with_each_request(tmp_path: Path) -> None:
    async def talk(client: TestClient[Any, Any], _: Graph, __: Console) -> None:
        async def status(password: str) -> int:
            auth = aiohttp.BasicAuth('prometheus', password)
            return (await client.get('/metrics', auth=auth)).status

        assert await status('wrong') == 401
        assert await status('look at it') == 200
        assert (await client.get('/metrics', headers={'Authorization': 'Basic ?'})).status == 400

    pytest.importorskip('prometheus_client', reason='prometheus_client is not installed')
    served(tmp_path, talk, {'viewer': hash_password('look at it')})


# ---- a new part


def good_part(number: int) -> Image:
    return Image(np.full((8, 9, 3), number, np.uint8), 'bgr8')


def test_images_are_kept_one_by_one_or_every_so_many(tmp_path: Path) -> None:
    collector = Collector(tmp_path)
    assert collector.offer(KEY, 0, good_part(0)) is None
    collector.begin(KEY, 'bracket')
    assert collector.offer(KEY, 1, good_part(1)) is None
    collector.ask(KEY)
    kept = collector.offer(KEY, 2, good_part(2))
    assert kept is not None
    assert (kept['count'], kept['problem']) == (1, '')
    collector.begin(KEY, 'bracket', every=3)
    assert [bool(collector.offer(KEY, stamp, good_part(stamp))) for stamp in range(3, 9)] == [
        False,
        False,
        True,
    ] * 2
    files = sorted((tmp_path / 'train' / 'bracket').iterdir())
    assert [cv2.imread(str(file))[0, 0, 0] for file in files] == [2, 5, 8]
    assert collector.remove_last(KEY)['count'] == 2
    assert len(list((tmp_path / 'train' / 'bracket').iterdir())) == 2
    with pytest.raises(ConfigError, match='no image was kept that could be removed'):
        collector.remove_last(KEY)
    collector.end(KEY)
    assert collector.offer(KEY, 9, good_part(9)) is None
    # Those of before count.
    assert collector.begin(KEY, 'bracket')['count'] == 2


def test_an_image_that_cannot_be_kept_is_not_counted(tmp_path: Path) -> None:
    (tmp_path / 'train').mkdir()
    (tmp_path / 'train' / 'bracket').write_text('a file')
    collector = Collector(tmp_path)
    collector.begin(KEY, 'bracket', every=1)
    kept = collector.offer(KEY, 1, good_part(1))
    assert kept is not None
    assert kept['count'] == 0
    assert 'bracket' in kept['problem']


@pytest.mark.parametrize('category', ['../train', '', 'a/b'])
def test_a_new_part_has_a_plain_name(tmp_path: Path, category: str) -> None:
    with pytest.raises(ConfigError, match=r'category .* is not a plain name'):
        Collector(tmp_path).begin(KEY, category)


def test_an_operator_collects_a_new_part_and_lets_it_be_learned(tmp_path: Path) -> None:
    async def talk(client: TestClient[Any, Any], graph: Graph, console: Console) -> None:
        async def post(path: str, **body: Any) -> Any:
            answer = await client.post(
                path, json={'detector': KEY, **body}, headers=origin(client)
            )
            assert answer.status == 200, await answer.text()
            return await answer.json()

        await post('/api/collect', action='begin', category='bracket', every=1)
        assert graph.collects
        for stamp in range(1, 6):
            console.new_part.on_image(KEY, stamp, good_part(stamp))
        ended = await post('/api/collect', action='end')
        # One of five is kept back: that promises one half.
        assert (ended['count'], ended['false_rejects']) == (5, 0.5)
        assert not graph.collects
        assert ended['size'] == [9, 8]
        await post('/api/learn', category='bracket', roi='1,2,4,4')
        assert graph.goals == [('new', ['roi=1,2,4,4'], 'bracket')]
        odd = await client.post(
            '/api/collect', json={'detector': KEY, 'action': 'x'}, headers=origin(client)
        )
        assert (odd.status, await odd.json()) == (
            409,
            {'error': "action is 'x', expected begin, one, remove or end"},
        )

    served(tmp_path, talk)
    log = [json.loads(line) for line in (tmp_path / 'audit.jsonl').read_text().splitlines()]
    assert [entry['what'] for entry in log] == ['collect', 'collect', 'learn', 'collect']
