# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The operator's console in a real browser, beside a real inspection in processes of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import itertools
import os
from pathlib import Path
import shutil
import socket
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')
pytest.importorskip('aiohttp', reason='aiohttp is not installed')
playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')

from ament_index_python.packages import get_package_prefix  # noqa: E402

from adet_core.bundle import open_bundle  # noqa: E402
from adet_core.cli import main  # noqa: E402
from adet_core.geometry import Box  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser'))), None)
_DEADLINE_MS = 90_000

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(
        CHROMIUM is None,
        reason='no chromium here: the console is not looked at (apt install chromium)',
    ),
]


class Line:
    """A line of inspection: source, detector, retrain server, console."""

    def __init__(self, deployed: Any, root: Path) -> None:
        self.models_root = shutil.copytree(deployed.models_root, root / 'models')
        self.data_root = shutil.copytree(deployed.data_root, root / 'data')
        self.output = root / 'output'
        self.namespace = f'/console{os.getpid()}'
        self.port = _free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.port}/'

    @property
    def key(self) -> str:
        return f'{self.namespace}/padim'

    def start(self, name: str) -> None:
        places = {'models_root': self.models_root, 'data_root': self.data_root}
        parameters: dict[str, dict[str, object]] = {
            'padim_detector': {**places, 'frames': 'every'},
            'retrain_server': places,
            'image_source': {
                'source': self.data_root / 'test' / 'plate',
                'loop': 'true',
                'publish_rate': 4.0,
            },
            'console': {
                'port': self.port,
                'output_dir': self.output,
                'data_root': self.data_root,
            },
        }
        words = [sys.executable, '-m', 'adet_console.node']
        if name != 'console':
            words = [str(Path(get_package_prefix('adet'), 'lib', 'adet', name))]
        words += ['--ros-args', '-r', f'__ns:={self.namespace}']
        for key, value in parameters[name].items():
            words += ['-p', f'{key}:={value}']
        self._processes[name] = subprocess.Popen(words)

    def kill(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait(30)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope='module')
def line(deployed: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    made = Line(deployed, tmp_path_factory.mktemp('line'))
    for name in ('padim_detector', 'retrain_server', 'image_source', 'console'):
        made.start(name)
    yield made
    made.stop()


@pytest.fixture(scope='module')
def page(line: Line) -> Iterator[Any]:
    """The console's page, once the first image is there."""
    with playwright.sync_playwright() as driver:
        # The tests may run as root, in a container.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        opened = browser.new_page(viewport={'width': 1280, 'height': 900}, locale='en-GB')
        opened.set_default_timeout(_DEADLINE_MS)
        troubles: list[str] = []
        opened.on('pageerror', lambda error: troubles.append(str(error)))
        _open(opened, line.url)
        opened.wait_for_selector('#overlay[src^="blob:"]')
        yield opened
        browser.close()
        assert troubles == []


def _open(page: Any, url: str) -> None:
    """Go to the console, which may still be starting."""

    def is_there() -> bool:
        try:
            page.goto(url)
        except playwright.Error:
            return False
        return True

    _until(page, is_there)


def _until(page: Any, holds: Callable[[], Any]) -> None:
    """Wait until something holds; the page's policy allows no functions that wait inside it."""
    for _ in range(_DEADLINE_MS // 200):
        if holds():
            return
        page.wait_for_timeout(200)
    assert holds()


def _until_text(page: Any, selector: str, fits: Callable[[str], Any]) -> None:
    _until(page, lambda: fits(page.text_content(selector)))


def _place(page: Any, selector: str) -> dict[str, float]:
    """The box of an element, once the page neither scrolls nor grows any more."""
    boxes = [page.locator(selector).bounding_box()]

    def is_still() -> bool:
        boxes.append(page.locator(selector).bounding_box())
        return bool(boxes[-1] == boxes[-2])

    page.wait_for_timeout(200)
    _until(page, is_still)
    found: dict[str, float] = boxes[-1]
    return found


def _next_verdict(page: Any) -> None:
    before = page.text_content('#counters')
    _until_text(page, '#counters', lambda text: text != before)


def test_the_newest_image_is_shown_with_its_verdict(page: Any, line: Line) -> None:
    assert page.text_content('#detectors button') == line.key
    _until_text(page, '#verdict', lambda text: text in {'GOOD', 'REJECT', 'CHECK'})
    _until_text(page, '#figures', lambda text: 'Good parts that score so high' in text)
    first = page.get_attribute('#overlay', 'src')
    _until(page, lambda: page.get_attribute('#overlay', 'src') != first)
    assert page.evaluate('document.querySelector("#plain").naturalWidth') == 128
    page.wait_for_selector('#nodes li[data-level="ok"]')
    if folder := os.environ.get('ADET_SCREENSHOTS'):
        # The screenshot of docs/console.md.
        page.screenshot(path=f'{folder}/console.jpg', type='jpeg', quality=70)


@pytest.mark.parametrize('width', [390, 1280, 2560])
def test_nothing_is_wider_than_the_screen(page: Any, width: int) -> None:
    page.set_viewport_size({'width': width, 'height': 900})
    page.wait_for_timeout(500)
    assert page.evaluate('document.documentElement.scrollWidth') == width
    page.set_viewport_size({'width': 1280, 'height': 900})


def test_the_threshold_is_set_and_taken_back(page: Any, line: Line) -> None:
    def in_force() -> float:
        state = page.request.get(f'{line.url}api/state?detector={line.key}').json()
        return float(state['history'][-1]['threshold'])

    before = in_force()
    page.fill('#value', str(before * 2))
    assert 'would have rejected' in page.text_content('#what-if')
    page.wait_for_selector('#known:not([hidden])')
    known = page.text_content('#known')
    assert 'Known to the bundle' in known
    assert 'Strong made-up defects' in known
    assert 'of good parts rejected on average' in page.text_content('#promise')
    page.click('#apply')
    page.wait_for_selector('#undo:enabled')
    _until(page, lambda: in_force() == pytest.approx(before * 2))
    page.click('#undo')
    _until(page, lambda: in_force() == pytest.approx(before))
    log = (line.output / 'console_audit.jsonl').read_text('utf-8')
    assert log.count('"what": "threshold"') == 2


def test_a_part_is_marked_by_a_key(page: Any, line: Line) -> None:
    page.keyboard.press('g')
    _until_text(page, '#mark-note', bool)
    stored = list((line.data_root / 'train' / 'plate').glob('frame_*.png'))
    assert len(stored) == 1, page.text_content('#mark-note')
    _until_text(page, '#marked', lambda text: text.startswith('1 '))


def test_a_screen_reader_finds_a_name_for_everything(page: Any) -> None:
    tree = page.context.new_cdp_session(page).send('Accessibility.getFullAXTree')['nodes']
    found = [
        (one['role']['value'], one.get('name', {}).get('value', ''))
        for one in tree
        if not one['ignored'] and 'role' in one
    ]
    controls = {'button', 'link', 'textbox', 'spinbutton', 'slider', 'combobox', 'progressbar'}
    parts = {'image', 'img', 'navigation', 'region'}
    named = [(role, name) for role, name in found if role in controls | parts]
    assert [role for role, name in named if not name.strip()] == []
    assert {'button', 'textbox', 'spinbutton', 'slider', 'combobox'} <= {role for role, _ in named}
    images = [name for role, name in named if role in {'image', 'img'}]
    assert sum(' at or above the threshold' in name for name in images) == 2  # both charts
    assert 'Newest image with its heat map' in images
    assert any(name.startswith('Score ') for name in images)


def test_a_screen_reader_is_told_of_changes_alone_and_not_of_every_image(page: Any) -> None:
    page.evaluate("""() => {
        window.told = [];
        const region = document.getElementById('say-verdict');
        const look = () => window.told.push([performance.now(), region.textContent]);
        new MutationObserver(look).observe(region, { childList: true });
    }""")
    assert page.get_attribute('#say-verdict', 'role') == 'status'
    for _ in range(12):
        _next_verdict(page)
    told = page.evaluate('window.told')
    assert all(after[0] - before[0] > 2900 for before, after in itertools.pairwise(told))
    assert all(after[1] != before[1] for before, after in itertools.pairwise(told))
    # What changes with each image is no live region.
    live = page.evaluate("""() => [...document.querySelectorAll('[aria-live], [role=status]')]
        .map((one) => one.id)""")
    assert not {'verdict', 'what-if', 'figures', 'counters', 'collected'} & set(live)


def test_a_verdict_of_the_history_is_opened(page: Any) -> None:
    def is_opened() -> bool:
        for number in range(1, 9):
            page.click(f'#verdicts tbody tr:nth-child({number})')
            image = page.locator('#details-overlay')
            _until(
                page,
                lambda image=image: (
                    image.get_attribute('src') or page.text_content('#details-note')
                ),
            )
            if image.get_attribute('src'):
                return True
            page.click('#details-close')
        return False

    # A busy machine shows few images, and the console has those alone.
    _until(page, is_opened)
    page.wait_for_selector('#details-overlay[src^="blob:"]')
    page.click('#details-close')


def test_a_row_stays_the_same_element_while_others_come(page: Any) -> None:
    row = page.locator('#verdicts tbody tr').first.element_handle()
    stamp = row.get_attribute('data-stamp')
    _next_verdict(page)
    first = page.locator('#verdicts tbody tr').first
    _until(page, lambda: first.get_attribute('data-stamp') != stamp)
    assert row.evaluate('row => row.isConnected')
    assert page.locator(f'#verdicts tr[data-stamp="{stamp}"]').count() == 1
    stamps = page.locator('#verdicts tbody tr').evaluate_all(
        'all => all.map((one) => one.dataset.stamp)'
    )
    assert stamps == sorted(stamps, reverse=True)


def test_a_retraining_is_followed_to_its_end(page: Any) -> None:
    page.click('#retrain')
    page.wait_for_selector('#retrain-progress:not([hidden])')
    ends = ('Done: ', 'Not put into service: ')
    _until_text(page, '#retrain-stage', lambda text: text.startswith(ends))
    page.wait_for_selector('#retrain-progress', state='hidden')
    if page.text_content('#retrain-stage').startswith('Done: '):
        assert 'Faint made-up defects' in page.text_content('#retrain-figures')


def test_a_new_part_goes_from_camera_to_inspection(page: Any, line: Line) -> None:
    page.fill('#part-name', 'bracket')
    page.fill('#keep-every', '1')
    page.click('#collect')
    page.wait_for_selector('#learn:enabled')
    assert 'good parts would be rejected on average' in page.text_content('#collected')
    kept = line.data_root / 'train' / 'bracket'
    page.click('#draw-region')
    box = _place(page, '#live .stage')
    middle = box['x'] + box['width'] / 2, box['y'] + box['height'] / 2
    page.mouse.move(middle[0] - 60, middle[1] - 60)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1] + 60)
    page.mouse.up()
    _until(page, lambda: page.input_value('#roi'))
    x, y, width, height = map(int, page.input_value('#roi').split(','))
    assert x + width <= 128
    assert width == pytest.approx(height, abs=1)
    assert x == pytest.approx(64 - width / 2, abs=1)
    page.click('#learn')
    _until_text(page, '#retrain-stage', lambda text: 'images of bracket learned' in text)
    assert len(list(kept.iterdir())) >= 20
    learned = open_bundle(line.models_root / 'PaDiM').manifest
    assert learned.category == 'bracket'
    assert learned.image.roi == Box(x=x, y=y, width=width, height=height)
    _next_verdict(page)
    # Nothing is lost: what was inspected before can be deployed again.
    assert list((line.models_root / 'PaDiM' / 'plate').glob('*/pytorch/meta.json'))
    # Another worker may run the next test, and has no brackets.
    _choose_another_kind(page, line)


def _choose_another_kind(page: Any, line: Line) -> None:
    # The plates, in whose place the brackets were learned.
    (run,) = (line.models_root / 'PaDiM' / 'plate').glob('*/pytorch')
    assert main(['deploy', str(run.parent), '--models-root', str(line.models_root), '--keep']) == 0
    assert page.is_hidden('#categories')

    def inspects(category: str) -> None:
        _until_text(page, '#figures', lambda text: f'Part{category}' in text)

    # Whoever else names it makes it known to the detector.
    body = {'detector': line.key, 'value': 'plate'}
    page.request.post(f'{line.url}api/category', data=body, headers={'Origin': line.url[:-1]})
    inspects('plate')
    page.wait_for_selector('#category')
    _until(page, lambda: page.input_value('#category') == 'plate')
    page.select_option('#category', 'bracket')
    inspects('bracket')
    assert page.input_value('#category') == 'bracket'
    assert page.text_content('#category-note') == ''
    log = (line.output / 'console_audit.jsonl').read_text('utf-8')
    assert log.count('"what": "category"') == 2


def test_the_page_is_there_again_after_the_console_was_killed(page: Any, line: Line) -> None:
    line.kill('console')
    page.wait_for_selector('#connection[data-state="lost"]')
    line.start('console')
    page.wait_for_selector('#connection[data-state="open"]')
    _next_verdict(page)


def test_the_page_goes_on_after_the_detector_was_killed(page: Any, line: Line) -> None:
    line.kill('padim_detector')
    _until_text(page, '#detectors', lambda text: 'not running' in text)
    line.start('padim_detector')
    _until_text(page, '#detectors', lambda text: 'not running' not in text)
    _next_verdict(page)


@pytest.mark.parametrize(
    ('language', 'title'), [('de', 'Verlauf'), ('ja', '履歴'), ('en', 'History')]
)
def test_the_page_speaks_other_languages(page: Any, language: str, title: str) -> None:
    page.select_option('#language', language)
    _until_text(page, '#history-title', lambda text: text == title)
