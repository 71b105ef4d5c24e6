# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet tune``: real searches of a few trials of a second each."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import csv
import json
import multiprocessing
import os
from pathlib import Path
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from typing import Any, TYPE_CHECKING

import pytest
import yaml

from adet_core.bundle import open_bundle
from adet_core.cli import main

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

pytestmark = pytest.mark.training

Out = pytest.CaptureFixture[str]
SPACE = {'n_features': {'low': 10, 'high': 20, 'step': 10}, 'image_size': 64}


# The libraries take as long as a search: they are imported once for all processes.
FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload(['adet_training.tune', 'adet_training.models.padim'])


def start(command: list[str], out: Path, err: Path) -> ForkServerProcess:
    """``adet`` with some words, in a process of its own."""
    process = FORKS.Process(target=adet, args=(command, out, err))
    process.start()
    return process


def adet(command: list[str], out: Path, err: Path) -> None:
    for path, stream in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    sys.exit(main(command))


@pytest.fixture
def space(tmp_path: Path) -> Path:
    return write_space(tmp_path, SPACE)


def write_space(folder: Path, values: Any, name: str = 'space.yaml') -> Path:
    path = folder / name
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return path


def words(data: Path, models: Path, space: Path, *more: str) -> list[str]:
    return [
        *('tune', '--model', 'padim', '--category', 'plate', '--backbone-weights', 'random'),
        *('--data-root', str(data), '--models-root', str(models)),
        *('--search-space', str(space), '--trials', '2', '--json', *more),
    ]


def run(capsys: Out, command: list[str]) -> dict[str, Any]:
    assert main(command) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def error(capsys: Out, command: list[str]) -> str:
    assert main(command) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith('error: ')
    return last.removeprefix('error: ')


def trials_of(run_dir: str) -> list[dict[str, str]]:
    with Path(run_dir, 'param', 'trials.csv').open(newline='') as file:
        return list(csv.DictReader(file))


def test_a_search_writes_its_files_and_trains_with_the_best_values(
    few_images: Path, tmp_path: Path, space: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adet_training import tune

    scored, real = [], tune._Trials._score
    monkeypatch.setattr(
        tune._Trials, '_score', lambda *given: scored.append(given[1].number) or real(*given)
    )
    result = run(capsys, words(few_images, tmp_path / 'models', space, '--trials', '3'))

    # A part of so few images would be all of them: nobody trains twice with the same.
    assert scored == [0, 1, 2]
    rows = trials_of(result['run_dir'])
    values = [float(row['value']) for row in rows if row['state'] == 'complete']
    assert len(rows) == 3
    assert result['objective'] == 'image_auroc'
    assert result['best_value'] == max(values)
    # The final training is the best trial again.
    assert result['image_auroc'] == pytest.approx(result['best_value'])
    best = yaml.safe_load(Path(result['run_dir'], 'param', 'best_params.yaml').read_text())
    assert best == result['best_parameters']
    assert str(best['n_features']) in {
        row['n_features'] for row in rows if float(row['value'] or 0) == max(values)
    }
    used = yaml.safe_load(Path(result['run_dir'], 'param', 'search_space.yaml').read_text())
    assert used == SPACE
    manifest = open_bundle(Path(result['bundle_dir'])).manifest
    assert {**manifest.hyper_parameters, 'seed': 0} == {**best, 'seed': 0}


def test_a_second_search_goes_on_with_the_first_and_another_study_does_not(
    few_images: Path, tmp_path: Path, space: Path, capsys: Out
) -> None:
    command = words(few_images, tmp_path / 'models', space, '--no-train')
    first = run(capsys, command)
    again = run(capsys, command)
    assert first['storage'] == again['storage']
    assert first['run_dir'] != again['run_dir']
    assert sum(first['trials'].values()) == 2
    assert sum(again['trials'].values()) == 4
    assert trials_of(again['run_dir'])[:2] == trials_of(first['run_dir'])
    assert not Path(again['run_dir'], 'pytorch').exists()
    assert sum(run(capsys, [*command, '--study', 'other'])['trials'].values()) == 2


def test_the_best_parameters_train_the_same_model_by_themselves(
    few_images: Path, tmp_path: Path, space: Path, capsys: Out
) -> None:
    tuned = run(capsys, words(few_images, tmp_path / 'models', space))
    file = Path(tuned['run_dir'], 'param', 'best_params.yaml')
    trained = run(
        capsys,
        [
            *('train', '--model', 'padim', '--category', 'plate', '--backbone-weights', 'random'),
            *('--data-root', str(few_images), '--models-root', str(tmp_path / 'other')),
            *('--parameters', str(file), '--json'),
        ],
    )
    for name in ('threshold', 'image_auroc', 'pixel_auroc'):
        assert trained[name] == pytest.approx(tuned[name], rel=1e-6)


@pytest.mark.parametrize('change', ['space', 'data', 'seed'])
def test_a_study_of_something_else_is_not_continued(
    change: str, own_few: Path, tmp_path: Path, space: Path, capsys: Out
) -> None:
    models = tmp_path / 'models'
    run(capsys, words(own_few, models, space, '--no-train'))
    more = []
    if change == 'space':
        space = write_space(tmp_path, {'n_features': {'low': 10, 'high': 40}, 'image_size': 64})
    elif change == 'data':
        next((own_few / 'train' / 'plate').iterdir()).unlink()
    else:
        more = ['--seed', '7']
    said = error(capsys, words(own_few, models, space, *more))
    assert "study 'padim_plate' was begun with other images" in said
    assert '--study NAME' in said


def test_without_labels_made_up_defects_are_what_counts(
    own_few: Path, tmp_path: Path, space: Path, capsys: Out
) -> None:
    shutil.rmtree(own_few / 'test')
    result = run(capsys, words(own_few, tmp_path / 'models', space))
    assert result['objective'] == 'cutpaste_auroc'
    assert 0 <= result['best_value'] <= 1
    assert result['image_auroc'] is None
    assert result['threshold_method'] == 'normal_quantile'


def test_values_that_do_not_go_together_are_left_out_with_the_reason(
    few_images: Path, tmp_path: Path, capsys: Out
) -> None:
    # layer1 alone has 64 channels.
    space = write_space(
        tmp_path,
        {'n_features': {'choices': [100, 20]}, 'layers': 'layer1', 'image_size': 64},
    )
    result = run(capsys, words(few_images, tmp_path / 'models', space, '--trials', '6'))
    failed = [row for row in trials_of(result['run_dir']) if row['state'] == 'fail']
    assert failed
    assert all('n_features is 100' in row['reason'] for row in failed)
    assert result['best_parameters']['n_features'] == 20


def test_a_search_in_which_nothing_works_says_why(
    few_images: Path, tmp_path: Path, capsys: Out
) -> None:
    space = write_space(tmp_path, {'n_features': {'choices': [100]}, 'layers': 'layer1'})
    said = error(capsys, words(few_images, tmp_path / 'models', space))
    assert said.startswith('no trial was finished; the last one: n_features is 100')


def test_a_poor_trial_is_given_up_after_a_part_of_the_work(
    data_root: Path, tmp_path: Path, space: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adet_training import tune

    shares = []
    real = tune._Trials._score

    def score(self: Any, trial: Any, geometry: Any, parameters: Any, data: Any) -> float:
        shares.append((trial.number, len(data.train)))
        # Each is worse than those before.
        real(self, trial, geometry, parameters, data) if trial.number == 0 else None
        return 1 / (1 + trial.number)

    monkeypatch.setattr(tune._Trials, '_score', score)
    monkeypatch.setattr(tune, '_STARTUP', 1)
    monkeypatch.setattr(tune, '_FIRST_LOOK', 0.5)
    result = run(
        capsys, words(data_root, tmp_path / 'models', space, '--trials', '4', '--no-train')
    )
    assert result['trials'] == {'complete': 1, 'pruned': 3}
    assert shares == [(0, 6), (0, 12), (1, 6), (2, 6), (3, 6)]


def test_a_model_with_steps_is_looked_at_after_a_quarter_of_them(
    few_images: Path, tmp_path: Path, capsys: Out
) -> None:
    space = write_space(tmp_path, {'latent': {'choices': [4, 8]}, 'image_size': 64, 'width': 4})
    command = words(few_images, tmp_path / 'models', space, '--set', 'steps=8', '--trials', '1')
    command[command.index('padim')] = 'vae'
    result = run(capsys, command)
    assert result['best_parameters']['steps'] == 8
    assert result['best_parameters']['latent'] in {4, 8}


@pytest.mark.parametrize(
    ('more', 'expected'),
    [
        (('--trials', '0'), 'trials is 0, expected 1 or more'),
        (
            ('--set', 'n_features=20'),
            'n_features is given by --set (or tiles=auto) and searched by',
        ),
        (('--storage', 'nothing://x'), 'storage nothing://x cannot be opened'),
        (('--storage', 'sqlite:////nowhere/at/all.db'), 'cannot be opened'),
        (('--search-space', 'missing.yaml'), 'missing.yaml: no such search space'),
        (('--model', 'magic'), "unknown model 'magic'"),
    ],
)
def test_what_cannot_be_is_one_line(
    more: tuple[str, ...],
    expected: str,
    few_images: Path,
    tmp_path: Path,
    space: Path,
    capsys: Out,
) -> None:
    assert expected in error(capsys, words(few_images, tmp_path / 'models', space, *more))


def test_a_new_storage_is_opened_by_many_at_once(tmp_path: Path) -> None:
    from adet_training.tune_storage import open_storage

    together = threading.Barrier(4)

    def open_one(storage: str) -> str:
        together.wait()
        return open_storage(storage, tmp_path)[0]

    for number in range(3):
        url = f'sqlite:///{tmp_path}/{number}.db'
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(open_one, [url] * 4)) == [url] * 4


PROXY = """
import sys
from optuna.storages import get_storage, run_grpc_proxy_server
run_grpc_proxy_server(get_storage(sys.argv[1]), host='127.0.0.1', port=int(sys.argv[2]))
"""


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A storage of that kind."""
    if request.param != 'grpc':
        yield request.param.format(tmp_path)
        return
    pytest.importorskip('grpc', reason='grpcio is not installed')
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        port = found.getsockname()[1]
    # As the documentation has it.
    line = [sys.executable, '-W', 'ignore', '-c', PROXY, f'sqlite:///{tmp_path}/study.db']
    with subprocess.Popen([*line, str(port)], stderr=subprocess.DEVNULL) as proxy:
        yield f'grpc://127.0.0.1:{port}'
        proxy.kill()


@pytest.mark.parametrize(
    'url', ['sqlite:///{}/study.db', 'journal:{}/study.log', 'grpc'], indirect=True
)
def test_two_processes_share_one_study(
    url: str, few_images: Path, tmp_path: Path, space: Path
) -> None:
    outs = [tmp_path / 'out0', tmp_path / 'out1']
    processes = [
        start(
            words(
                few_images,
                *(tmp_path / f'models{n}', space),
                *('--storage', url, '--no-train', '--report'),
            ),
            out,
            out.with_suffix('.err'),
        )
        for n, out in enumerate(outs)
    ]
    results = []
    for process, out in zip(processes, outs, strict=True):
        process.join(300)
        assert process.exitcode == 0, out.with_suffix('.err').read_text()
        results.append(json.loads(out.read_text()))
    # Whoever ended last has seen the end of all trials; the other may have left one running.
    last = min(results, key=lambda result: result['trials'].get('running', 0))
    rows = trials_of(last['run_dir'])
    assert [int(row['number']) for row in rows] == [0, 1, 2, 3]
    assert {row['state'] for row in rows} <= {'complete', 'pruned'}
    assert last['best_value'] == max(float(row['value']) for row in rows if row['value'])
    page = Path(last['report']).read_text()
    assert 'Search padim_plate' in page
    assert page.count('class="plotly-graph-div"') >= 2
    assert '<script src=' not in page


def test_the_trial_of_a_process_that_died_fails(tmp_path: Path) -> None:
    import optuna

    from adet_training import tune_storage

    url = f'journal:{tmp_path}/study.log'
    storage = tune_storage.open_storage(url, tmp_path)[1]
    study = optuna.create_study(storage=storage)
    dead, fresh = study.ask(), study.ask()
    beats: list[float] = []

    def objective(trial: optuna.Trial) -> float:
        while not beats:
            told = study.get_trials(deepcopy=False)[trial.number].user_attrs
            beats.extend(value for key, value in told.items() if key == tune_storage.HEARTBEAT)
        return 1.0

    study.optimize(tune_storage.with_heartbeat(objective, storage), 1)
    assert abs(time.time() - beats[0]) < 60
    long_ago = time.time() - 61
    storage.set_trial_user_attr(dead._trial_id, tune_storage.HEARTBEAT, long_ago)
    storage.set_trial_user_attr(fresh._trial_id, tune_storage.HEARTBEAT, time.time())
    assert tune_storage.fail_dead_trials(study, storage) == 1
    assert [trial.state.name for trial in study.trials] == ['FAIL', 'RUNNING', 'COMPLETE']
    assert study.trials[0].user_attrs['reason'] == 'its process died'
    assert tune_storage.fail_dead_trials(study, storage) == 0


def test_a_proxy_that_is_away_is_one_line(
    few_images: Path, tmp_path: Path, space: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('grpc', reason='grpcio is not installed')
    monkeypatch.setattr('adet_training.tune_storage._PROXY_S', 0.1)
    command = words(few_images, tmp_path, space, '--storage', 'grpc://127.0.0.1:9')
    assert 'storage grpc://127.0.0.1:9 cannot be opened (GRPC' in error(capsys, command)


def test_a_search_that_was_killed_goes_on(
    few_images: Path, tmp_path: Path, space: Path, capsys: Out
) -> None:
    command = words(few_images, tmp_path / 'models', space, '--no-train')
    err = tmp_path / 'err'
    os.mkfifo(err)
    process = start([*command, '--trials', '500'], tmp_path / 'out', err)
    with err.open() as told:
        for line in told:
            if line.startswith('trial 1'):
                break
        time.sleep(0.2)
        process.kill()
        process.join(60)
    result = run(capsys, command)
    rows = trials_of(result['run_dir'])
    assert rows[0]['state'] == 'complete'
    finished = [row for row in rows if row['state'] in {'complete', 'pruned'}]
    # What the killed process was at is there, and is not mistaken for a result.
    assert len(rows) - len(finished) <= 1
    assert all(row['value'] for row in finished)


def trial(number: int, value: float, ms: float, interval: Any = (0.9, 1.0)) -> Any:
    import optuna

    made = optuna.trial.create_trial(
        value=value, user_attrs={'predict_ms': ms, 'interval': interval}
    )
    made.number = number
    return made


def test_of_equal_trials_the_fastest_wins_and_chance_is_warned_of() -> None:
    from adet_training.trials import best_of, too_alike

    trials = [trial(0, 0.9612, 30.0), trial(1, 0.9609, 8.0), trial(2, 0.93, 1.0)]
    assert best_of(trials).number == 1
    (told,) = too_alike(trials[1], trials)
    assert told.startswith('2 of 2 other trials lie in the 95% interval of the best (0.900 to 1.')
    assert too_alike(trial(0, 0.96, 1.0, (0.95, 0.97)), [trial(0, 0.96, 1.0), trials[2]]) == []
    # Too few images have no interval at all.
    assert 'may be chance' in too_alike(trial(0, 0.96, 1.0, None), trials)[0]
    assert too_alike(trial(0, 0.96, 1.0, None), trials[:1]) == []


def test_progress_names_the_trial_the_best_one_and_the_end() -> None:
    from adet_training.trials import TrialProgress

    told: list[str] = []
    progress = TrialProgress(3, lambda stage, *_: told.append(stage))
    progress('reading images', 1, 1)
    with progress.trial([]):
        progress('testing', 1, 2)
    with progress.trial([trial(0, 0.91234, 1.0)]):
        progress('testing', 1, 2)
    assert told[:2] == ['reading images', 'trial 1 of 3: testing']
    assert re.fullmatch(
        r'trial 2 of 3, best so far 0\.9123, end about \d\d:\d\d: testing', told[2]
    )


def test_an_interrupted_search_says_how_to_go_on(
    few_images: Path, tmp_path: Path, space: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adet_training import tune

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tune, 'tune', interrupt)
    assert main(words(few_images, tmp_path / 'my models', space)) == 130
    told = capsys.readouterr().err
    assert 'finished trials are kept; go on with: adet tune --category plate' in told
    assert f"--models-root '{tmp_path / 'my models'}'" in told
