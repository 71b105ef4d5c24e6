# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Many jobs: each runs once, whatever is killed, and their counts add up to the whole."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
import csv
from functools import partial
import json
import os
from pathlib import Path
import shutil
import signal
import sys
from typing import Any

import cv2
import numpy as np
import pytest

from adet_core.errors import ConfigError, IncompleteError
from adet_core.records import Record

pytest.importorskip('adet_evaluation', reason='adet_evaluation is not installed')
pytest.importorskip('adet_training', reason='adet_training is not installed')
pytest.importorskip('fsspec', reason='fsspec is not installed')

from adet_evaluation.counts import count_scores, ScoreCounts
from adet_evaluation.figures import evaluate
from adet_training.batch.batch import run_batch
from adet_training.batch.execute import JobError, run_job
from adet_training.batch.jobs import Job, read_jobs
from adet_training.batch.pools import Ended, on_ray, on_this_machine
from adet_training.cli import batch as batch_command

PARTS, IMAGES = 4, 3


def silent(*_: object) -> None: ...


# ---- counts


def rows(rng: np.random.Generator, count: int) -> list[Record]:
    return [
        Record(
            stamp_ns=int(rng.integers(2**60)),
            frame_id='',
            source='',
            model='padim',
            label=str(rng.choice(['normal', 'anomaly', ''])),
            # Few enough for ties.
            score=float(rng.integers(20)) / 7,
            normalised_score=0.5,
            threshold=1.5,
            is_anomalous=bool(rng.integers(2)),
            is_uncertain=False,
            inference_ms=1.0,
        )
        for _ in range(count)
    ]


def test_merged_counts_have_the_figures_of_one_evaluation_to_the_last_digit() -> None:
    rng = np.random.default_rng(0)
    parts = [rows(rng, count) for count in (200, 1, 37)]
    whole = evaluate([row for part in parts for row in part])
    merged = ScoreCounts()
    for part in parts:
        text = json.dumps(count_scores(part, missing=2).to_json())
        merged.add(ScoreCounts.from_json(json.loads(text)))
    figures = merged.figures()
    assert figures.pop('missing') == 6
    assert figures.pop('image_auroc') == pytest.approx(whole.image_auroc, abs=1e-15)
    assert figures == {name: getattr(whole, name) for name in figures}


def test_counts_without_labels_have_no_rates() -> None:
    figures = ScoreCounts(images=3).figures()
    assert figures['images'] == 3
    names = ('image_auroc', 'image_f1', 'false_reject_rate', 'false_accept_interval')
    assert {figures[name] for name in names} == {None}


# ---- the file of jobs


def read(tmp_path: Path, text: str) -> list[Job]:
    path = tmp_path / 'jobs.yaml'
    path.write_text(text)
    return read_jobs(path)[0]


def test_a_grid_is_a_job_for_each_combination(tmp_path: Path) -> None:
    jobs = read(
        tmp_path,
        'options: {data-root: data, backend: auto}\n'
        'jobs:\n'
        '  - {command: train, grid: {category: [a, b], model: [padim, vae]}, cpus: 2,\n'
        '     options: {set: [image_size=64, seed=1]}}\n'
        '  - {command: export, positional: [models/PaDiM], options: {onnx-only: true}}\n',
    )
    # Only an option that the command has.
    words = ('--data-root=data', '--set=image_size=64', '--set=seed=1', '--category=b')
    assert [job.words for job in jobs][2] == (*words, '--model=padim')
    assert jobs[4].words == ('models/PaDiM', '--data-root=data', '--onnx-only')
    assert (len(jobs), jobs[0].cpus, jobs[0].told) == (5, 2, {'category': 'a', 'model': 'padim'})
    assert jobs[0].name.startswith('train-a-padim-')


def test_a_job_is_another_one_when_its_images_change(tmp_path: Path) -> None:
    text = (
        f'jobs: [{{command: train, options: {{data-root: "{tmp_path}/data", category: plate, '
        f'models-root: "{tmp_path}/models"}}}}]'
    )
    folder = tmp_path / 'data' / 'train' / 'plate'
    folder.mkdir(parents=True)
    (tmp_path / 'data' / 'train' / 'other').mkdir()
    before = read(tmp_path, text)[0].fingerprint
    # Neither other categories nor what is written matters.
    (tmp_path / 'data' / 'train' / 'other' / 'a.png').touch()
    (tmp_path / 'models').mkdir()
    (tmp_path / 'models' / 'best').touch()
    assert read(tmp_path, text)[0].fingerprint == before
    (folder / 'a.png').touch()
    assert read(tmp_path, text)[0].fingerprint != before


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('', "field 'jobs' is missing"),
        ('jobs: []', 'describes no job'),
        ('jobs: [{command: rm}]', "command is 'rm', expected one of: distill, evaluate"),
        ('jobs: [{command: train, grid: {model: padim}}]', "grid.model is 'padim'"),
        ('jobs: [{command: evaluate, each: {bag: "none/*.mcap"}}]', 'nothing matches none/'),
        ('jobs: [{command: train, cpu: 2}]', "unknown field 'jobs\\[0\\].cpu'"),
        (
            'jobs: [{command: train, grid: {catgory: [a]}}]',
            'no option --catgory; did you mean category',
        ),
        ('jobs: [{command: evaluate, each: {bag: [none.mcap, 7]}}]', 'nothing matches none.mcap'),
        ('jobs: {', 'while parsing'),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        read(tmp_path, text)
    assert '\n' not in str(caught.value)


def test_each_takes_addresses_of_fsspec(tmp_path: Path) -> None:
    fsspec = pytest.importorskip('fsspec')
    memory = fsspec.filesystem('memory')
    for name in ('a.mcap', 'b.mcap'):
        memory.pipe(f'/bags/{name}', b'no bag')
    jobs = read(tmp_path, 'jobs: [{command: evaluate, each: {bag: "memory://bags/*.mcap"}}]')
    assert [job.told['bag'] for job in jobs] == ['memory:///bags/a.mcap', 'memory:///bags/b.mcap']
    listed = '["memory://bags/b.mcap", "memory://bags/a*"]'
    both = read(tmp_path, f'jobs: [{{command: evaluate, each: {{bag: {listed}}}}}]')
    assert [job.told for job in both] == [jobs[1].told, jobs[0].told]
    # It is copied here, and read as a bag.
    with pytest.raises(JobError, match=r'adet-batch-\w+/a\.mcap') as caught:
        run_job(jobs[0])
    assert 'memory' not in str(caught.value)


# ---- running them


@pytest.fixture
def bags(tmp_path: Path, bundle_folder: Path) -> str:
    """A file of jobs: folders of labelled images, each of which is evaluated."""
    rng = np.random.default_rng(1)
    for part in range(PARTS):
        for label in ('normal', 'anomaly'):
            folder = tmp_path / 'parts' / f'part{part}' / label
            folder.mkdir(parents=True)
            for number in range(IMAGES):
                image = rng.integers(0, 255, (32, 32, 3), np.uint8)
                cv2.imwrite(str(folder / f'{part}{number}.png'), image)
    path = tmp_path / 'jobs.yaml'
    path.write_text(
        f'jobs: [{{command: evaluate, each: {{images: "{tmp_path}/parts"}}, '
        f'options: {{bundle: "{bundle_folder}", backend: onnxruntime}}}}]'
    )
    return str(path)


def whole(tmp_path: Path, bundle_folder: Path) -> dict[str, Any]:
    """The figures of one evaluation over all images."""
    for folder in (tmp_path / 'parts').glob('*/*'):
        shutil.copytree(folder, tmp_path / 'whole' / folder.name, dirs_exist_ok=True)
    words = (f'--images={tmp_path}/whole', f'--bundle={bundle_folder}', '--backend=onnxruntime')
    return run_job(
        Job(
            name='whole', command='evaluate', words=words, remote=(), fingerprint='', cpus=1,
            gpus=0.0, timeout_s=0.0, told={},
        )
    )  # fmt: skip


def run(*words: object) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    batch_command.add_arguments(parser)
    return batch_command.run(parser.parse_args([str(word) for word in words]))


def test_a_batch_that_was_killed_goes_on_and_adds_up(
    tmp_path: Path, bundle_folder: Path, bags: str, capsys: Any
) -> None:
    output = tmp_path / 'batch'
    jobs, retries = read_jobs(Path(bags))

    def until_killed(jobs: Sequence[Job], retries: int) -> Iterator[Ended]:
        yield from on_this_machine(jobs[:2], retries, workers=2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(jobs, retries, output, until_killed, tell=silent)
    result = run(bags, '--output', output, '--local', '--workers', 2)
    assert (result['done'], result['kept'], result['failed']) == (2, 2, {})
    expected = whole(tmp_path, bundle_folder)
    merged = result['merged']['padim']
    assert merged['images'] == PARTS * IMAGES * 2
    for name, value in merged.items():
        assert value == pytest.approx(expected[name], abs=1e-15), name
    with Path(result['report']).open() as file:
        table = list(csv.DictReader(file))
    assert [row['state'] for row in table] == ['done'] * PARTS
    assert float(table[0]['image_auroc']) >= 0
    batch_command.show(result)
    assert 'padim: 24 images, image_auroc' in capsys.readouterr().out


def test_a_job_that_fails_is_tried_again_and_the_others_go_on(
    tmp_path: Path, bags: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def run_or_fail(job: Job) -> dict[str, Any]:
        tries.append(job.told['images'][-1])
        if job.told['images'].endswith('0') and tries.count('0') < 3:
            msg = 'was killed by SIGKILL'
            raise JobError(msg)
        if job.told['images'].endswith('1'):
            msg = 'the folder\nis empty'
            raise JobError(msg)
        if job.told['images'].endswith('2'):
            msg = 'no such option'
            raise JobError(msg, is_final=True)
        return {'seconds': 1.0}

    monkeypatch.setattr('adet_training.batch.pools.run_job', run_or_fail)
    with pytest.raises(
        IncompleteError, match=r'2 of 4 jobs failed, e\.g\. evaluate-part'
    ) as caught:
        run(bags, '--output', tmp_path / 'batch', '--local', '--workers', 1)
    assert sorted(tries) == ['0', '0', '0', '1', '1', '1', '2', '3']
    assert caught.value.result['done'] == 2
    report = json.loads((tmp_path / 'batch' / 'report.json').read_text())
    assert [row['error'] for row in report['rows']] == [
        '',
        'the folder is empty',
        'no such option',
        '',
    ]


def test_a_command_says_why_it_failed_and_can_be_stopped(tmp_path: Path, bags: str) -> None:
    (job, *_), _ = read_jobs(Path(bags))
    shutil.rmtree(tmp_path / 'bundle')
    with pytest.raises(JobError, match=r'bundle.*: missing|No such file') as caught:
        run_job(job)
    assert not caught.value.is_final
    values = {**vars(job), 'timeout_s': 1e-3}
    with pytest.raises(JobError, match=r'took longer than 0\.001 s'):
        run_job(Job(**values))
    with pytest.raises(JobError) as usage:
        run_job(Job(**{**vars(job), 'words': ('--nonsense',)}))
    assert usage.value.is_final


def test_without_ray_the_command_names_the_extra(
    tmp_path: Path, bags: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(ConfigError, match=r"pip install 'adet-training\[ray\]'"):
        run(bags, '--output', tmp_path / 'batch')


# ---- on a real Ray cluster


def _kill_a_worker(names: set[str]) -> bool:
    """Kill a process of Ray that is at one of the jobs."""
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            title = (folder / 'cmdline').read_bytes().rstrip(b'\0').decode()
        except (OSError, UnicodeDecodeError):
            continue
        if title.startswith('ray::') and title.removeprefix('ray::').strip() in names:
            os.kill(int(folder.name), signal.SIGKILL)
            return True
    return False


def test_a_ray_worker_that_is_killed_loses_nothing_and_does_nothing_twice(
    tmp_path: Path, bundle_folder: Path, bags: str
) -> None:
    pytest.importorskip('ray', reason='Ray is not installed: adet batch on a cluster not tested')
    jobs, retries = read_jobs(Path(bags))
    left = {job.name for job in jobs}
    killed: list[bool] = []
    states: list[str] = []

    def tell(job: Job, state: str, _: str) -> None:
        left.discard(job.name)
        states.append(state)
        if not any(killed):
            killed.append(_kill_a_worker(left))

    pool = partial(on_ray, workers=2)
    report = run_batch(jobs, retries, tmp_path / 'batch', pool, tell=tell)
    assert any(killed)
    assert states == ['done'] * PARTS
    assert report['failed'] == {}
    expected = whole(tmp_path, bundle_folder)
    merged = report['merged']['padim']
    assert merged['images'] == PARTS * IMAGES * 2
    assert merged['image_auroc'] == pytest.approx(expected['image_auroc'], abs=1e-15)
    assert merged['false_reject_interval'] == pytest.approx(expected['false_reject_interval'])
