# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A retraining in a process of its own, without ROS: goals, cancelling, and what is undone."""

from __future__ import annotations

import json
from pathlib import Path
import sys
import textwrap
import threading
from typing import Any

import builders
import cv2
import numpy as np
import pytest
from test_retrained import put

from adet_core.bundle import Bundle, open_bundle
from adet_core.errors import AdetError, BundleError, RejectedError
from adet_core.progress import silent
from adet_core.retraining import child as child_module
from adet_core.retraining.child import CancelledError, Goal, Job, Places, plan, RetrainProcess

RESULT = {'success': True, 'message': 'learned', 'images_used': 2, 'threshold': 4.0}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return builders.make_bundle(tmp_path / 'models' / 'PaDiM')


@pytest.fixture
def places(bundle: Bundle, tmp_path: Path) -> Places:
    data = tmp_path / 'data'
    images = data / 'train' / bundle.manifest.category
    images.mkdir(parents=True)
    cv2.imwrite(str(images / 'new.png'), np.zeros((9, 9, 3), np.uint8))
    return Places(tmp_path / 'models', data, data)


def in_service(bundle: Bundle) -> str:
    return open_bundle(bundle.folder, in_service=True).bundle_id


# ---- what a goal comes to


def test_the_short_goal_learns_what_is_new_in_the_folder_of_the_category(
    bundle: Bundle, places: Places
) -> None:
    job = plan(Goal(model='padim', overrides=('keep=3',)), places, 2)
    images = places.data_root / 'train' / bundle.manifest.category
    expected = f'retrain {bundle.folder} --images {images} --incremental --set keep=3 --threads 2'
    assert ' '.join(job.command[3:]) == f'{expected} --json --child'
    assert job.bundle.bundle_id == bundle.bundle_id


@pytest.mark.parametrize(
    ('goal', 'current', 'category'),
    [
        (Goal(model='padim'), 'lid', 'lid'),
        (Goal(model='padim', mode='rollback'), 'lid', 'lid'),
        (Goal(model='padim', category='lid'), 'plate', 'lid'),
        (Goal(model='padim'), 'plate', 'plate'),
        # A detector may inspect with what is not deployed here, or none may run.
        (Goal(model='padim'), 'cup', 'plate'),
        (Goal(model='padim'), '', 'plate'),
    ],
)
def test_a_goal_is_of_its_category_or_of_that_in_service(
    bundle: Bundle, places: Places, goal: Goal, current: str, category: str
) -> None:
    builders.make_bundle(bundle.folder / 'lid', category='lid')
    (places.data_root / 'train' / 'lid').symlink_to('plate')
    job = plan(goal, places, 1, lambda: current)
    assert job.bundle.manifest.category == category
    assert job.folder == (bundle.folder / 'lid' if category == 'lid' else bundle.folder)


def test_a_new_category_goes_beside_those_in_folders_of_their_own(
    bundle: Bundle, places: Places
) -> None:
    images = str(places.data_root / 'train' / 'plate')
    goal = Goal(model='padim', mode='new', category='cup', images=images)
    # Nobody is asked where one bundle is deployed.
    job = plan(goal, places, 1, lambda: pytest.fail('asked'))
    assert job.folder == bundle.folder
    builders.make_bundle(bundle.folder / 'lid', category='lid')
    job = plan(goal, places, 1, lambda: 'lid')
    assert job.folder == bundle.folder / 'cup'
    assert f'--base {bundle.folder / "lid"} ' in ' '.join(job.command)


@pytest.mark.parametrize(
    ('goal', 'reason'),
    [
        ({'model': 'vae'}, 'VAE/meta.json: missing'),
        ({'model': 'padim', 'mode': 'quick'}, "mode is 'quick', expected one of: incremental"),
        (
            {'model': 'padim', 'category': 'lid'},
            "category is 'lid', of padim these are deployed: ",
        ),
        ({'model': 'padim', 'mode': 'new'}, "category is '', but mode is new: name what to learn"),
        ({'model': 'padim', 'images': '/etc'}, 'images is /etc, which is not inside'),
        ({'model': 'padim', 'images': '{data}/../..'}, 'which is not inside'),
        ({'model': 'padim', 'images': '{data}/none'}, 'none: no such folder'),
        ({'model': 'padim', 'images': '~nosuchuser/x'}, 'that home folder is not known here'),
        ({'model': 'padim', 'test_dir': '/etc'}, 'test_dir is /etc, which is not inside'),
        ({'model': 'padim', 'images': '{data}/linked'}, 'outside.png, which is not inside'),
    ],
)
def test_a_goal_that_cannot_work_is_refused_before_a_process_starts(
    places: Places, tmp_path: Path, goal: dict[str, str], reason: str
) -> None:
    (places.data_root / 'linked').mkdir()
    (tmp_path / 'secret.png').write_bytes(b'')
    (places.data_root / 'linked' / 'outside.png').symlink_to(tmp_path / 'secret.png')
    words = {name: text.format(data=places.data_root) for name, text in goal.items()}
    with pytest.raises(AdetError) as caught:
        RetrainProcess(Goal(**words), places).run(silent)
    assert reason in str(caught.value)


# ---- the process


def process_of(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, places: Places, script: str
) -> RetrainProcess:
    """A process that runs a script where ``adet retrain`` would."""
    command = [sys.executable, '-c', textwrap.dedent(script)]
    monkeypatch.setattr(child_module, 'plan', lambda *_: Job(bundle, 'incremental', command))
    return RetrainProcess(Goal(model='padim'), places, niceness=5)


def test_progress_and_result_come_through(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, places: Places
) -> None:
    script = f"""
        import json, os, time
        while os.getpriority(os.PRIO_PROCESS, 0) != 5:
            time.sleep(0.01)
        print(json.dumps({{'stage': 'fit', 'done': 1, 'total': 2}}), flush=True)
        print({json.dumps(json.dumps(RESULT))})
    """
    told: list[Any] = []
    process = process_of(monkeypatch, bundle, places, script)
    assert process.run(lambda *news: told.append(news)) == RESULT
    assert told == [('fit', 1, 2)]
    # Too late: what it asked for is in service.
    assert process.cancel() is False


@pytest.mark.parametrize(
    ('script', 'error', 'reason'),
    [
        ('import sys; sys.exit("error: no room")', BundleError, '^no room$'),
        ('print(1 / 0)', BundleError, 'ZeroDivisionError'),
        ('import os; os.kill(os.getpid(), 9)', BundleError, 'was killed by signal 9; is memory'),
        ("print('{\"half')", BundleError, 'exit 0'),
        ('print(\'{"success": false, "message": "worse"}\')', RejectedError, '^worse$'),
    ],
)
def test_a_child_that_fails_says_why(
    monkeypatch: pytest.MonkeyPatch,
    bundle: Bundle,
    places: Places,
    script: str,
    error: type[AdetError],
    reason: str,
) -> None:
    with pytest.raises(error, match=reason):
        process_of(monkeypatch, bundle, places, script).run(silent)
    assert in_service(bundle) == bundle.bundle_id


WAITING = """
    import json, time
    print(json.dumps({'stage': 'write', 'done': 0, 'total': 1}), flush=True)
    time.sleep(600)
"""


def test_what_a_cancelled_child_had_put_into_service_is_taken_back(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, places: Places
) -> None:
    process = process_of(monkeypatch, bundle, places, WAITING)

    def write_and_cancel(*_: Any) -> None:
        assert put(bundle.folder, 4.0).bundle_id != bundle.bundle_id
        assert process.cancel()

    with pytest.raises(CancelledError):
        process.run(write_and_cancel)
    assert in_service(bundle) == bundle.bundle_id


def test_a_goal_that_is_cancelled_before_it_begins_does_nothing(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, places: Places
) -> None:
    process = process_of(monkeypatch, bundle, places, WAITING)
    assert process.cancel()
    with pytest.raises(CancelledError):
        process.run(silent)


def test_a_cancel_from_another_thread_ends_the_child_at_once(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, places: Places
) -> None:
    process, begun = process_of(monkeypatch, bundle, places, WAITING), threading.Event()
    cancelling = threading.Thread(target=lambda: begun.wait(60) and process.cancel())
    cancelling.start()
    with pytest.raises(CancelledError):
        process.run(lambda *_: begun.set())
    cancelling.join()


def test_what_a_detector_refuses_is_taken_back(bundle: Bundle, places: Places) -> None:
    first = put(bundle.folder, 4.0).bundle_id
    second = put(bundle.folder, 5.0).bundle_id
    process = RetrainProcess(Goal(model='padim', mode='rollback'), places)
    result = process.run(silent)
    assert result == {'message': f'{first} is back', 'threshold': 4.0}
    told = process.rollback('no memory')
    assert told == f'the detector refuses {first} (no memory); {second} stays in service'
    assert in_service(bundle) == second
