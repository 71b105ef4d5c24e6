# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The report in a real browser, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import shutil
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from adet_core.bundle import ScoreRange, Threshold
from adet_core.image import Image
from adet_core.inference.detector import Detector
from adet_core.records import Record
from adet_core.scoring import Region
from adet_evaluation.evaluation import Evaluation, ModelEvaluation
from adet_evaluation.figures import evaluate
from adet_evaluation.report import write_report

playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser'))), None)
PHONE, DESK = {'width': 390, 'height': 844}, {'width': 1280, 'height': 900}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason='no chromium here: the report is not looked at (apt install chromium)'
)


def rows(model: str, apart: float, *, labelled: bool = True) -> list[Record]:
    """Scores of 60 good and 30 anomalous images."""
    random = np.random.default_rng(4)
    values = [('normal', score) for score in random.normal(2, 0.5, 60)]
    values += [('anomaly', score) for score in random.normal(2 + apart, 0.5, 30)]
    return [
        Record(
            stamp_ns=number * 100_000_000,
            frame_id='camera',
            source=f'data/{label}/<i>{"long_" * 20}{number}.png',
            label=label if labelled else '',
            model=model,
            bundle_id=f'{model}123',
            score=float(score),
            threshold=3.0,
            is_anomalous=bool(score >= 3),
            is_uncertain=False,
            regions=(Region(10, 10, 20, 20, 4.0),) if score >= 3 else (),
            inference_ms=float(random.uniform(5, 9)),
        )
        for number, (label, score) in enumerate(values)
    ]


class Drawer:
    """Stands in for a detector: its bundle keeps four normal scores and two of made-up defects."""

    bundle = SimpleNamespace(
        bundle_id='padim123',
        report=None,
        manifest=SimpleNamespace(
            model='padim',
            category='plate',
            created='2026-11-27T10:00:00+00:00',
            backbone=None,
            dataset=SimpleNamespace(train=9, held_out=4, test_normal=0, test_anomaly=0),
            hyper_parameters={'image_size': 256, 'layers': ['blocks.1', 'blocks.2'] * 9},
            image_threshold=Threshold(
                value=3.0, method='normal_quantile', normals=4, anomalies=0, detail='promised'
            ),
            score_range=ScoreRange(
                minimum=0, maximum=9, normals=(1.0, 2.0, 2.9, 3.1), made_up={'faint': (2.5, 3.5)}
            ),
        ),
    )

    def inspect(self, image: Image) -> None:
        """Find nothing."""

    def overlay(self, image: Image, _: None) -> np.ndarray:
        return image.pixels


def evaluation(**models: list[Record]) -> Evaluation:
    random = np.random.default_rng(5)
    pixels = random.integers(0, 255, (80, 120, 3), np.uint8)
    learned = random.normal(4, 0.2, 50).tolist()
    return Evaluation(
        {
            name: ModelEvaluation(
                one,
                evaluate(one, learned=[*learned, *[2.9] * 30]),
                cast('Detector', Drawer()) if name == 'padim' else None,
            )
            for name, one in models.items()
        },
        'data/a_bag_with_a_name_that_is_long_enough_to_be_a_trouble_on_a_telephone',
        lambda stamps: dict.fromkeys(stamps, Image(pixels, 'bgr8')),
        ['bag: damaged; mend it with: ros2 bag reindex bag'],
    )


@pytest.fixture(scope='module')
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(
        tmp_path_factory.mktemp('report'),
        evaluation(padim=rows('padim', 2), patchcore=rows('patchcore', 1)),
    )


@pytest.fixture(scope='module')
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        # The tests may run as root, in a container.
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield opened
        opened.close()


class Page:
    """An open report, and what the browser complained of."""

    def __init__(self, browser: Any, path: Path, viewport: dict[str, int], scheme: str) -> None:
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme, offline=True)
        self.page = self.context.new_page()
        self.troubles: list[str] = []
        self.requests: list[str] = []
        self.page.on('pageerror', lambda error: self.troubles.append(str(error)))
        self.page.on('console', self._hear)
        self.page.on('request', lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector('#latency .plotly')

    def _hear(self, message: Any) -> None:
        if message.type == 'error':
            self.troubles.append(message.text)

    def text(self, element: str) -> str:
        return str(self.page.text_content(f'#{element}'))

    def cells(self) -> list[int]:
        """Good accepted, good rejected, anomalous accepted, anomalous rejected."""
        names = ('true-good', 'false-reject', 'false-accept', 'true-anomalous')
        return [int(self.text(name)) for name in names]


@pytest.fixture
def look(browser: Any) -> Iterator[Any]:
    """Open a report; in the end nothing may have gone wrong, and nothing been asked for."""
    pages: list[Page] = []

    def opened(path: Path, *, viewport: dict[str, int] = DESK, scheme: str = 'light') -> Page:
        pages.append(Page(browser, path, viewport, scheme))
        return pages[-1]

    yield opened
    for page in pages:
        assert page.troubles == []
        outside = [url for url in page.requests if not url.startswith(('file:', 'data:', 'blob:'))]
        assert outside == []
        assert len([url for url in page.requests if url.startswith('file:')]) == 1
        page.context.close()


def counts(model: list[Record], threshold: float) -> list[int]:
    flagged = {
        label: sum((row.score or 0) >= threshold for row in model if row.label == label)
        for label in ('normal', 'anomaly')
    }
    return [60 - flagged['normal'], flagged['normal'], 30 - flagged['anomaly'], flagged['anomaly']]


def test_the_slider_shows_what_another_threshold_would_do(look: Any, report: Path) -> None:
    page = look(report)
    model = rows('padim', 2)
    assert page.text('value') == '3.0000'
    assert page.cells() == counts(model, 3.0)
    slider = page.page.locator('#threshold')
    # As somebody without a mouse moves it.
    slider.focus()
    for _ in range(100):
        slider.press('ArrowLeft')
    lower = float(page.text('value'))
    assert lower < 2.8
    assert page.cells() == counts(model, lower)
    false_rejects = page.cells()[1]
    assert page.text('frr') == f'{100 * false_rejects / 60:.1f} %'
    page.page.click('#reset')
    assert page.cells() == counts(model, 3.0)
    slider.press('Home')
    assert page.cells() == [0, 60, 0, 30]
    slider.press('End')
    assert page.cells() == [60, 0, 30, 0]
    assert page.text('far') == '100.0 %'


def test_what_the_bundle_knows_of_a_threshold_is_told_with_intervals(
    look: Any, report: Path
) -> None:
    page = look(report)
    known = page.page.locator('#known')
    assert page.text('promise') == '3.0000, promised'
    assert known.locator('tbody tr').all_inner_texts() == [
        'held-out normal images\t1 of 4: 25.0 % (0.6 % to 80.6 %)',
        'faint made-up defects\t1 of 2: 50.0 % (1.3 % to 98.7 %)',
    ]
    page.page.locator('#threshold').press('Home')
    assert '4 of 4: 100.0 % (39.8 % to 100.0 %)' in known.inner_text()
    page.page.select_option('#model', label='patchcore')
    assert not known.is_visible()


def test_the_images_follow_the_slider_and_can_be_sorted_and_enlarged(
    look: Any, report: Path
) -> None:
    page = look(report)
    shown = page.page.locator('[data-model="0"] .gallery li:visible')
    _, rejected, missed, _ = page.cells()
    assert shown.count() == rejected + missed
    page.page.select_option('[data-model="0"] .kind', value='normal-1')
    page.page.locator('#threshold').press('Home')
    assert shown.count() == 60
    page.page.select_option('[data-model="0"] .order', value='low')
    scores = [float(one) for one in shown.locator('strong').all_inner_texts()]
    assert scores == sorted(scores)
    assert page.text('auroc') == '0.999'
    shown.first.locator('button').click()
    assert page.page.locator('#full img').is_visible()
    page.page.keyboard.press('Escape')
    assert not page.page.locator('#full img').is_visible()


def test_another_model_is_chosen(look: Any, report: Path) -> None:
    page = look(report)
    shown = page.page.locator('[data-model]:not([hidden])')
    assert shown.get_attribute('data-model') == '0'
    page.page.select_option('#model', label='patchcore')
    assert shown.get_attribute('data-model') == '1'
    assert page.cells() == counts(rows('patchcore', 1), 3.0)
    table = page.page.locator('.figures').inner_text()
    assert 'padim123' in table
    assert 'patchcore123' in table


def test_every_plot_is_drawn_and_every_image_shown(look: Any, report: Path) -> None:
    page = look(report)
    for name in ('histogram', 'roc', 'pr', 'time', 'latency'):
        box = page.page.locator(f'#{name} .main-svg').first.bounding_box()
        assert box['height'] > 200, name
    page.page.evaluate(
        'document.querySelectorAll("img").forEach((one) => { one.loading = "eager"; })'
    )
    page.page.wait_for_function('[...document.images].every((one) => one.complete)')
    widths = page.page.evaluate(
        '[...document.querySelectorAll(".gallery img")].map((one) => one.naturalWidth)'
    )
    assert len(widths) == 180
    assert set(widths) == {720}
    # A file's name is text, whatever it looks like.
    assert page.page.locator('figcaption i').count() == 0
    assert '<i>long_' in page.page.locator('.gallery').first.inner_text()
    assert 'learned from' in page.page.locator('.origin').inner_text()
    # The accepted scores are far from those the model learned.
    assert 'drift test fired 1 times' in page.text('drift')


@pytest.mark.parametrize('viewport', [PHONE, DESK], ids=['phone', 'desk'])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_it_fits_and_follows_the_colours_asked_for(
    look: Any, report: Path, viewport: dict[str, int], scheme: str
) -> None:
    page = look(report, viewport=viewport, scheme=scheme)
    width = page.page.evaluate('document.documentElement.scrollWidth')
    assert width <= viewport['width']

    def shade(element: str, what: str) -> float:
        script = f'getComputedStyle(document.querySelector("{element}")).{what}'
        found = page.page.evaluate(script).removeprefix('rgb(').removesuffix(')')
        return sum(map(float, found.split(','))) / 3

    def is_dark() -> bool:
        text, paper = shade('body', 'color'), shade('body', 'backgroundColor')
        axis = shade('#histogram .xtick text', 'fill')
        # Both kinds of text stand out.
        assert abs(text - paper) > 120
        assert abs(axis - paper) > 120
        return paper < text

    assert is_dark() == (scheme == 'dark')
    page.page.click('#theme')
    assert is_dark() != (scheme == 'dark')


def test_images_without_labels_have_a_report_too(look: Any, tmp_path: Path) -> None:
    page = look(write_report(tmp_path, evaluation(padim=rows('padim', 2, labelled=False))))
    assert page.page.locator('#curves').is_hidden()
    assert page.text('frr') == 'needs labels'
    assert int(page.text('unknown-good')) + int(page.text('unknown-anomalous')) == 90
    assert page.page.locator('#model').count() == 0
    assert page.page.locator('.gallery').count() == 1
