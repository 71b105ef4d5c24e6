# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The command ``adet``, called as a shell would call it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
import importlib
from importlib.metadata import EntryPoint
import io
import json
import math
import os
from pathlib import Path
import re
import shlex
import shutil
import subprocess
import sys
from types import ModuleType
from typing import Any

import builders
import pytest

from adet_core import __version__
from adet_core.bundle import META_FILE, open_bundle, read_engine, read_record, write_engine
from adet_core.cli import main
from adet_core.errors import BundleError
from adet_core.records import Record, RecordWriter

OWN = {
    'deploy': 'adet_core.cli.deploy',
    'evaluate': 'adet_evaluation.cli.evaluate',
    'retrain': 'adet_core.cli.retrain',
    'synth': 'adet_synth.cli.synth',
}
Out = pytest.CaptureFixture[str]


def _entry(name: str, module: str) -> EntryPoint:
    return EntryPoint(name, module, 'adet.commands')


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Commands that need neither ROS nor torch, as on a machine without both; add to them."""
    found = [_entry(name, module) for name, module in OWN.items()]
    monkeypatch.setattr('adet_core.cli.entry_points', lambda **_: found)
    return found


@pytest.fixture
def add_command(
    commands: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[..., dict[str, Any]]], None]:
    """Install a package with the command ``adet other``."""

    def add(run: Callable[..., dict[str, Any]]) -> None:
        module: Any = ModuleType('other_command')
        module.HELP, module.EXAMPLE = 'do something else', 'adet other'
        module.add_arguments = lambda _: None
        module.run, module.show = run, lambda result: sys.stdout.write(f'shown {result}\n')
        monkeypatch.setitem(sys.modules, 'other_command', module)
        commands.append(_entry('other', 'other_command'))

    return add


@pytest.fixture
def run_dir(bundle_folder: Path, tmp_path: Path) -> Path:
    """A training run on the PC."""
    folder = tmp_path / 'pc' / 'PaDiM' / 'plate' / '20260102_030405'
    folder.mkdir(parents=True)
    bundle_folder.rename(folder / 'pytorch')
    return folder


def _error(capsys: Out, *words: str) -> str:
    """Run a command that has to fail; its one line without ``error: ``."""
    assert main(words) == 1
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.startswith('error: ')
    assert captured.err.count('\n') == 1
    return captured.err.removeprefix('error: ').removesuffix('\n')


def _json(capsys: Out, *words: str) -> dict[str, Any]:
    """Run a command with ``--json``; the object in its last line."""
    assert main([*words, '--json']) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return result


# ---- all commands


def test_the_installed_command_lists_its_subcommands() -> None:
    adet = shutil.which('adet')
    assert adet, 'adet is not on the path'
    run = subprocess.run([adet, '--help'], capture_output=True, text=True, check=True)
    for name in OWN:
        assert f'\n    {name} ' in run.stdout


def test_the_version_is_that_of_the_package(capsys: Out) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(['--version'])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f'adet {__version__}\n'


@pytest.mark.parametrize('name', OWN)
def test_help_shows_an_example_that_parses(name: str, capsys: Out) -> None:
    module = importlib.import_module(OWN[name])
    with pytest.raises(SystemExit) as exit_:
        main([name, '--help'])
    assert exit_.value.code == 0
    text = ' '.join(capsys.readouterr().out.split())
    assert module.HELP in text
    assert f'example: {module.EXAMPLE}' in re.sub(r'(?<=\S)- ', '-', text)
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    words = shlex.split(module.EXAMPLE)
    assert words[:2] == ['adet', name]
    parser.parse_args(words[2:])


@pytest.mark.parametrize(
    'words',
    [
        [],
        ['unheard-of'],
        ['deploy'],
        ['deploy', 'a', 'b'],
        ['evaluate'],
        ['evaluate', '--results'],
        ['synth', 'out', '--train', '-1'],
        ['synth', 'out', '--train', 'many'],
        ['synth', 'out', '--size', '²'],
        ['synth', 'out', '--train', '9' * 5000],
        ['retrain', 'bundle', '--threads', '99999999999'],
        ['retrain', 'bundle', '--threads', '-1'],
        ['deploy', 'a', '--colour', 'red'],
    ],
    ids=' '.join,
)
def test_wrong_usage_exits_with_2(words: list[str], capsys: Out) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.startswith('usage: adet ')
    assert not captured.err.startswith('usage: adet [-h]\n')


def test_adet_alone_shows_all_commands(capsys: Out) -> None:
    with pytest.raises(SystemExit):
        main([])
    shown = capsys.readouterr().err
    assert all(f'\n    {name} ' in shown for name in OWN)


def test_a_mistyped_command_is_answered_with_the_one_it_resembles(capsys: Out) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(['evalute'])
    assert exit_.value.code == 2
    assert "unknown command 'evalute'; did you mean evaluate?" in capsys.readouterr().err


def test_a_mistyped_option_is_answered_with_the_one_it_resembles(capsys: Out) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(['deploy', 'run', '--model-roots=there'])
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert 'unrecognized arguments: --model-roots=there; did you mean --models-root?' in said


@pytest.mark.parametrize(
    ('name', 'remedy'),
    [
        ('train', 'the training package: pip install ./ros2_ws/src/adet_core ./training'),
        ('export', 'the training package: pip install ./ros2_ws/src/adet_core ./training'),
        ('inspect', 'the ROS packages: build ros2_ws with colcon and source it'),
    ],
)
def test_a_command_of_a_package_that_is_not_installed_says_what_to_install(
    name: str, remedy: str, capsys: Out
) -> None:
    assert _error(capsys, name, '--model', 'padim') == f'adet {name} needs {remedy}'


def test_a_package_that_is_installed_by_halves_says_what_is_missing(
    commands: list[EntryPoint], capsys: Out
) -> None:
    commands.append(_entry('train', 'adet_training_that_is_gone.cli'))
    message = _error(capsys, 'train')
    assert message.startswith("adet train cannot be loaded (No module named 'adet_training_that")
    assert 'it needs the training package' in message


def test_a_broken_package_leaves_the_commands_of_the_others_alone(
    commands: list[EntryPoint], run_dir: Path, tmp_path: Path, capsys: Out
) -> None:
    commands.append(_entry('train', 'adet_training_that_is_gone.cli'))
    result = _json(capsys, 'deploy', str(run_dir), '--models-root', str(tmp_path / 'robot'))
    assert result['model'] == 'padim'


def test_a_command_of_another_package_is_run(
    add_command: Callable[..., None], capsys: Out
) -> None:
    add_command(lambda _: {'answer': 42})
    assert _json(capsys, 'other') == {'answer': 42}
    assert main(['other']) == 0
    assert capsys.readouterr().out == "shown {'answer': 42}\n"


def test_ctrl_c_exits_with_130(add_command: Callable[..., None], capsys: Out) -> None:
    def run(_: argparse.Namespace) -> dict[str, Any]:
        raise KeyboardInterrupt

    add_command(run)
    assert main(['other']) == 130
    assert capsys.readouterr() == ('', 'interrupted\n')


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (BundleError('a: missing'), 'a: missing'),
        (BundleError('two\nlines'), 'two lines'),
        (FileNotFoundError(2, 'No such file', '/x/y'), '/x/y: No such file'),
        (OSError(28, 'No space left on device'), '[Errno 28] No space left on device'),
        (PermissionError(13, 'Permission denied', 'a\nb'), 'a b: Permission denied'),
    ],
)
def test_an_error_is_one_line_and_1(
    add_command: Callable[..., None], capsys: Out, error: Exception, line: str
) -> None:
    def run(_: argparse.Namespace) -> dict[str, Any]:
        raise error

    add_command(run)
    assert _error(capsys, 'other') == line


def _buggy(_: argparse.Namespace) -> dict[str, Any]:
    msg = 'a\nbug \x1b[2J'
    raise RuntimeError(msg)


def test_a_bug_is_one_line_with_its_place(
    add_command: Callable[..., None], capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv('ADET_DEBUG', raising=False)
    add_command(_buggy)
    line = _error(capsys, 'other')
    assert re.match(r'RuntimeError: a bug \\x1b\[2J \(\w+\.py:\d+\); unexpected: please', line)
    assert 'ADET_DEBUG=1' in line


@pytest.mark.parametrize('how', ['--debug', 'ADET_DEBUG'])
def test_a_bug_is_shown_to_who_wants_to_see_it(
    add_command: Callable[..., None], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    add_command(_buggy)
    monkeypatch.setenv('ADET_DEBUG', '1' if how == 'ADET_DEBUG' else '0')
    with pytest.raises(RuntimeError, match='bug'):
        main(['other', *([how] if how.startswith('--') else [])])


def test_an_expected_error_is_one_line_for_debuggers_too(
    add_command: Callable[..., None], capsys: Out
) -> None:
    def run(_: argparse.Namespace) -> dict[str, Any]:
        msg = 'a: missing'
        raise BundleError(msg)

    add_command(run)
    assert _error(capsys, 'other', '--debug') == 'a: missing'


def test_figures_that_are_no_numbers_are_no_traceback(
    add_command: Callable[..., None], capsys: Out
) -> None:
    add_command(lambda _: {'image_auroc': math.nan})
    assert _error(capsys, 'other', '--json').startswith('ValueError: Out of range float')


def test_names_that_the_terminal_cannot_show_are_shown_escaped(
    add_command: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    add_command(lambda _: {'path': Path(os.fsdecode(b'part\xff.png'))})
    assert main(['other']) == 0
    assert 'part\\udcff.png' in capfd.readouterr().out


def test_a_package_that_fails_in_its_own_way_leaves_the_others_alone(
    commands: list[EntryPoint], run_dir: Path, tmp_path: Path, capsys: Out
) -> None:
    (tmp_path / 'broken_package.py').write_text('raise OSError("libbroken.so: cannot open")')
    sys.path.insert(0, str(tmp_path))
    try:
        commands.append(_entry('train', 'broken_package'))
        result = _json(capsys, 'deploy', str(run_dir), '--models-root', str(tmp_path / 'robot'))
        assert result['model'] == 'padim'
        assert 'cannot be loaded (libbroken.so' in _error(capsys, 'train')
    finally:
        sys.path.remove(str(tmp_path))


# ---- adet deploy


@pytest.mark.parametrize('named', ['', 'pytorch'])
def test_a_run_is_deployed_into_the_robot_layout(
    run_dir: Path, tmp_path: Path, capsys: Out, named: str
) -> None:
    root = tmp_path / 'robot'
    result = _json(capsys, 'deploy', str(run_dir / named), '--models-root', str(root))
    source = open_bundle(run_dir / 'pytorch')
    assert result == {
        'bundle_dir': str(root / 'PaDiM'),
        'bundle_id': source.bundle_id,
        'model': 'padim',
        'category': 'plate',
        'exported': True,
        'kept': None,
        'next': f'adet inspect --model padim --source camera:0 --models-root {root}',
    }
    deployed = open_bundle(root / 'PaDiM')
    assert deployed.bundle_id == source.bundle_id
    builders.verify_all(deployed)
    assert {path.name for path in (root / 'PaDiM').iterdir()} == {*builders.FILES, 'engine'}


def test_deploying_tells_the_next_step(run_dir: Path, tmp_path: Path, capsys: Out) -> None:
    root = tmp_path / 'robot'
    # As an earlier adet trained, which made no graph.
    shutil.rmtree(run_dir / 'pytorch' / 'engine')
    assert main(['deploy', str(run_dir), '--models-root', str(root)]) == 0
    bundle_id = open_bundle(root / 'PaDiM').bundle_id
    assert capsys.readouterr().out == (
        f'deployed padim for plate, bundle {bundle_id} to {root}/PaDiM\n'
        f'next: adet export {root}/PaDiM\n'
    )


def test_the_models_root_is_models_by_default(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _json(capsys, 'deploy', str(run_dir))['bundle_dir'] == 'models/PaDiM'
    builders.verify_all(open_bundle(tmp_path / 'models' / 'PaDiM'))


def test_deploying_replaces_an_older_bundle_and_leaves_everything_else(
    run_dir: Path, tmp_path: Path, capsys: Out
) -> None:
    root = tmp_path / 'robot'
    target = root / 'PaDiM'
    old = builders.make_bundle(target, seed=7)
    builders.make_engine(old)
    other_run = builders.make_bundle(target / 'lid' / '20250101_000000' / 'pytorch', seed=8)
    (target / 'retrain').mkdir()
    (target / 'retrain' / 'report.json').write_text('{}')
    engine = (target / 'engine' / 'model.onnx').read_bytes()

    for _ in range(2):  # the same again changes nothing
        result = _json(capsys, 'deploy', str(run_dir), '--models-root', str(root))
        assert result['bundle_id'] == open_bundle(target).bundle_id != old.bundle_id
        builders.verify_all(open_bundle(target))
        assert open_bundle(other_run.folder).bundle_id == other_run.bundle_id
        assert (target / 'retrain' / 'report.json').read_text() == '{}'
        assert (target / 'engine' / 'model.onnx').read_bytes() == engine
        names = {path.name for path in target.iterdir()}
        assert names == builders.FILES | {'engine', 'retrain', 'lid'}


def test_a_graph_of_the_run_is_brought_along(run_dir: Path, tmp_path: Path, capsys: Out) -> None:
    root = tmp_path / 'robot'
    source = open_bundle(run_dir / 'pytorch')

    result = _json(capsys, 'deploy', str(run_dir), '--models-root', str(root))

    assert result['exported'] is True
    assert result['next'] == (f'adet inspect --model padim --source camera:0 --models-root {root}')
    deployed = open_bundle(root / 'PaDiM')
    assert read_engine(deployed) == read_engine(source)
    assert read_record(deployed) == read_record(source)


def test_a_graph_of_the_same_bundle_that_is_there_stays(
    run_dir: Path, tmp_path: Path, capsys: Out
) -> None:
    root = tmp_path / 'robot'
    _json(capsys, 'deploy', str(run_dir), '--models-root', str(root))
    deployed = open_bundle(root / 'PaDiM')
    record = replace(read_record(deployed), precision='fp16')
    write_engine(deployed, read_engine(deployed).onnx, record)

    _json(capsys, 'deploy', str(run_dir), '--models-root', str(root))

    assert read_record(open_bundle(root / 'PaDiM')).precision == 'fp16'


def test_the_next_step_inspects_the_images_of_the_test(
    run_dir: Path, tmp_path: Path, capsys: Out
) -> None:
    image = tmp_path / 'my data' / 'test' / 'plate' / 'normal' / '0.png'
    image.parent.mkdir(parents=True)
    (run_dir / 'test_result').mkdir()
    (run_dir / 'test_result' / 'predictions.csv').write_text(f'path,label\n{image},normal\n')
    result = _json(capsys, 'deploy', str(run_dir), '--models-root', str(tmp_path / 'robot'))
    words = shlex.split(result['next'])
    assert words[words.index('--source') + 1] == str(tmp_path / 'my data' / 'test' / 'plate')


def _of_another_category(folder: Path) -> str:
    bundle = builders.make_bundle(folder, seed=7)
    builders.edit_meta(folder, lambda values: values.update(category='lid'))
    assert open_bundle(folder).bundle_id != bundle.bundle_id
    return open_bundle(folder).bundle_id


def test_a_bundle_of_another_category_is_replaced_only_when_told(
    run_dir: Path, tmp_path: Path, capsys: Out
) -> None:
    root = tmp_path / 'robot'
    before = _of_another_category(root / 'PaDiM')
    words = ('deploy', str(run_dir), '--models-root', str(root))
    assert _error(capsys, *words) == (
        f'{root}/PaDiM holds lid (bundle {before}), not plate: '
        'use --keep to have both, --replace, or another --models-root'
    )
    assert open_bundle(root / 'PaDiM').bundle_id == before
    assert _json(capsys, *words, '--replace')['category'] == 'plate'
    assert open_bundle(root / 'PaDiM').manifest.category == 'plate'


def test_bundles_of_several_categories_are_kept_beside_each_other(
    run_dir: Path, tmp_path: Path, capsys: Out
) -> None:
    root = tmp_path / 'robot'
    builders.make_engine(open_bundle(run_dir / 'pytorch'))
    before = _of_another_category(root / 'PaDiM')
    words = ('deploy', str(run_dir), '--models-root', str(root), '--keep')
    result = _json(capsys, *words)
    assert result['bundle_dir'] == f'{root}/PaDiM/plate'
    assert '--categories plate' in result['next']
    assert open_bundle(root / 'PaDiM').bundle_id == before
    # Again: in its place, and nowhere else.
    assert _json(capsys, *words)['bundle_dir'] == f'{root}/PaDiM/plate'
    assert _error(capsys, *words[:-1]) == (
        f'{root}/PaDiM/plate holds plate beside other categories: use --keep to replace it there'
    )
    listed = _json(capsys, 'list', '--models-root', str(root))
    assert [(one['bundle_dir'], one['category']) for one in listed['deployed']] == [
        (f'{root}/PaDiM', 'lid'),
        (f'{root}/PaDiM/plate', 'plate'),
    ]
    assert listed['trainings'] == 0


def test_a_category_that_has_the_folder_of_the_model_stays_there(
    run_dir: Path, tmp_path: Path, capsys: Out
) -> None:
    root = tmp_path / 'robot'
    for words in ((), ('--keep',)):
        result = _json(capsys, 'deploy', str(run_dir), '--models-root', str(root), *words)
        assert result['bundle_dir'] == f'{root}/PaDiM'


@pytest.mark.parametrize(('answer', 'category'), [('y', 'plate'), ('', 'lid'), ('no', 'lid')])
def test_somebody_at_a_terminal_is_asked(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, category: str
) -> None:
    root = tmp_path / 'robot'
    _of_another_category(root / 'PaDiM')
    terminal = io.StringIO(f'{answer}\n')
    monkeypatch.setattr(terminal, 'isatty', lambda: True, raising=False)
    monkeypatch.setattr(sys, 'stdin', terminal)
    assert main(['deploy', str(run_dir), '--models-root', str(root)]) == (category == 'lid')
    assert open_bundle(root / 'PaDiM').manifest.category == category


@pytest.mark.parametrize('name', sorted(builders.FILES))
def test_a_damaged_run_leaves_the_target_as_it_was(
    run_dir: Path, tmp_path: Path, capsys: Out, name: str
) -> None:
    root = tmp_path / 'robot'
    old = builders.make_bundle(root / 'PaDiM', seed=7)
    path = run_dir / 'pytorch' / name
    data = path.read_bytes()
    path.write_bytes(b'?' + data[1:])
    message = _error(capsys, 'deploy', str(run_dir), '--models-root', str(root))
    assert message.startswith(f'{path}: ')
    assert open_bundle(root / 'PaDiM').bundle_id == old.bundle_id
    builders.verify_all(open_bundle(root / 'PaDiM'))


def test_deploying_what_is_no_run_says_so(tmp_path: Path, capsys: Out) -> None:
    message = _error(capsys, 'deploy', str(tmp_path / 'nowhere'))
    assert message.startswith(f'{tmp_path}/nowhere/{META_FILE}: missing; is this a bundle folder')


def test_deploying_where_nothing_can_be_written_names_the_place(
    run_dir: Path, tmp_path: Path, capsys: Out
) -> None:
    (tmp_path / 'file').write_text('')
    message = _error(capsys, 'deploy', str(run_dir), '--models-root', str(tmp_path / 'file'))
    assert message == f'{tmp_path}/file/PaDiM: Not a directory'


# ---- adet evaluate


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / 'result_padim.csv'
    writer = RecordWriter(path)
    for stamp, (score, label) in enumerate(
        [(1.0, 'normal'), (3.0, 'normal'), (2.0, 'anomaly'), (4.0, 'anomaly'), (None, '')]
    ):
        inspected = score is not None
        writer.write(
            Record(
                stamp_ns=stamp,
                frame_id='',
                source='s.png',
                label=label,
                model='padim',
                score=score,
                threshold=2.5 if inspected else None,
                is_anomalous=score > 2.5 if inspected else None,
                inference_ms=10.0 if inspected else None,
                error='' if inspected else 'cannot be decoded',
            )
        )
    writer.close()
    return path


# What scripts outside the project read.
FIGURES = {
    'images': 4,
    'missing': 1,
    'labelled': 4,
    'anomalous': 2,
    'uncertain': 0,
    'image_auroc': 0.75,
    'image_f1': 0.5,
    'false_reject_rate': 0.5,
    'false_accept_rate': 0.5,
    'latency_ms': {'p50': 10.0, 'p95': 10.0, 'p99': 10.0},
}


def figures_of(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in FIGURES}


def test_results_become_figures(results: Path, capsys: Out) -> None:
    result = _json(capsys, 'evaluate', '--results', str(results))
    assert figures_of(result) == figures_of(result['models']['padim']) == FIGURES
    assert list(results.parent.glob('report*')) == []


def test_a_report_holds_the_same_figures(results: Path, tmp_path: Path, capsys: Out) -> None:
    report = tmp_path / 'a' / 'report'
    result = _json(capsys, 'evaluate', '--results', str(results), '--report', str(report))
    assert result.pop('report') == str(report / 'report.html')
    assert figures_of(result) == FIGURES
    assert json.loads((report / 'report.json').read_text()) == result
    assert sorted(path.name for path in report.iterdir()) == ['report.html', 'report.json']


def test_figures_are_shown_as_a_table(results: Path, capsys: Out) -> None:
    assert main(['evaluate', '--results', str(results)]) == 0
    text = capsys.readouterr().out
    rows = {
        key.strip(): value.strip()
        for key, _, value in (s.partition('│') for s in text.splitlines())
    }
    assert rows['image AUROC'] == '0.750'
    assert rows['images'] == '4'
    assert rows['false-reject rate'] == '50.0% (1.3% to 98.7%)'
    assert rows['inference p50, p95, p99'] == '10.0, 10.0, 10.0 ms'


def test_who_has_read_enough_gets_no_error(results: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, '-m', 'adet_core', 'evaluate', '--results', str(results)]
    try:
        run = subprocess.run(
            command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writer)
    assert run.returncode == 1
    # An image of the results has no verdict, which is told; that nobody reads on is not.
    assert [line.partition(':')[0] for line in run.stderr.splitlines()] == ['warning']


def test_what_a_model_is_called_is_no_markup(tmp_path: Path, capsys: Out) -> None:
    path = tmp_path / 'r.csv'
    writer = RecordWriter(path)
    figures = {'score': 1.0, 'threshold': 0.5, 'is_anomalous': True, 'inference_ms': 3.0}
    writer.write(Record(stamp_ns=1, frame_id='', source='', label='', model='[/b]', **figures))
    writer.close()
    assert main(['evaluate', '--results', str(path)]) == 0
    assert '[/b]' in capsys.readouterr().out


def test_figures_that_need_labels_say_so(tmp_path: Path, capsys: Out) -> None:
    path = tmp_path / 'r.csv'
    writer = RecordWriter(path)
    writer.write(
        Record(
            stamp_ns=1,
            frame_id='',
            source='',
            label='',
            model='m',
            score=1.0,
            threshold=0.5,
            is_anomalous=True,
            inference_ms=3.0,
        )
    )
    writer.close()
    assert _json(capsys, 'evaluate', '--results', str(path))['image_auroc'] is None
    assert main(['evaluate', '--results', str(path)]) == 0
    assert capsys.readouterr().out.count('needs labels') == 5


def test_results_that_are_not_there_say_how_to_make_them(tmp_path: Path, capsys: Out) -> None:
    message = _error(capsys, 'evaluate', '--results', str(tmp_path / 'r.csv'))
    assert message == f'{tmp_path}/r.csv: No such file or directory; make it with: adet inspect'


def test_results_without_verdicts_say_so(tmp_path: Path, capsys: Out) -> None:
    RecordWriter(tmp_path / 'r.csv').close()
    message = _error(capsys, 'evaluate', '--results', str(tmp_path / 'r.csv'))
    assert message == 'none of 0 rows has a verdict; inspect some images first'


def test_a_report_that_cannot_be_written_names_the_place(
    results: Path, tmp_path: Path, capsys: Out
) -> None:
    (tmp_path / 'file').write_text('')
    words = ['evaluate', '--results', str(results), '--report', str(tmp_path / 'file')]
    assert _error(capsys, *words) == f'{tmp_path}/file: File exists'


def test_a_command_loads_no_other_one(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    """Each has imports of its own, which together take longer than most commands."""
    from adet_core import cli

    loaded = []
    load = cli._load

    def count(name: str, entry: object) -> object:
        loaded.append(name)
        return load(name, entry)

    monkeypatch.setattr(cli, '_load', count)
    assert main(['list', '--models-root', '/nowhere']) == 1
    assert loaded == ['list']
    assert 'no such folder' in capsys.readouterr().err
