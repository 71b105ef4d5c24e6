# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What can be said of images and of a start with the machine where neither can be made."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import importlib
import os
from pathlib import Path
import re
import shlex
import shutil
import subprocess
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STEPS = ROOT / 'docker' / 'steps'
DEPLOY = ROOT / 'deploy'
DOCKERFILES = sorted(ROOT.glob('docker/*/Dockerfile'))
COMPOSE_FILES = sorted(ROOT.glob('docker/*/compose*.yaml'))
# What describes a Python package.
BUILDS = ('setup.py', 'pyproject.toml')
SCRIPTS = sorted(
    path
    for folder in ('docker/steps', 'deploy', 'tools', 'data/shellscript')
    for path in (ROOT / folder).glob('*.sh')
)


def of_project(path: Path) -> str:
    return str(path.relative_to(ROOT))


def run(*words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = None if env is None else {**os.environ, **env}
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


# ---- what linters and schemas say


@pytest.mark.parametrize('dockerfile', DOCKERFILES, ids=of_project)
def test_a_dockerfile_keeps_the_rules_of_hadolint(dockerfile):
    done = run('hadolint', dockerfile)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize('script', SCRIPTS, ids=of_project)
def test_a_script_keeps_the_rules_of_shellcheck(script):
    done = run('shellcheck', script)
    assert done.returncode == 0, done.stdout
    assert os.access(script, os.X_OK)


def test_compose_files_follow_the_specification():
    done = run('check-jsonschema', '--builtin-schema', 'vendor.compose-spec', *COMPOSE_FILES)
    assert done.returncode == 0, done.stdout


# ---- Dockerfiles and compose files, beside the checkout


class Stage(NamedTuple):
    """A stage of a Dockerfile.

    Attributes:
        base: What it starts from.
        instructions: Its instructions, each with its words, those of earlier stages first.
    """

    base: str
    instructions: tuple[tuple[str, str], ...]

    def words_of(self, name: str) -> list[list[str]]:
        """The words after each instruction of a name."""
        return [shlex.split(words) for keyword, words in self.instructions if keyword == name]


def stages_of(dockerfile: Path) -> dict[str, Stage]:
    """The stages of a Dockerfile by name; the last has its base as a name if it has none."""
    text = re.sub(r'^ *#.*\n', '', dockerfile.read_text('utf-8'), flags=re.MULTILINE)
    stages: dict[str, Stage] = {}
    arguments: tuple[tuple[str, str], ...] = ()
    name = ''
    for line in text.replace('\\\n', ' ').splitlines():
        keyword, _, words = line.partition(' ')
        if keyword == 'FROM':
            base, _, name = (one.strip() for one in words.partition(' AS '))
            name = name or base
            earlier = stages.get(base)
            stages[name] = earlier or Stage(base, arguments)
        elif keyword and name:
            stage = stages[name]
            stages[name] = stage._replace(instructions=(*stage.instructions, (keyword, words)))
        elif keyword:
            arguments += ((keyword, words),)
    return stages


STAGES = [
    pytest.param(stage, id=f'{dockerfile.parent.name}:{name}')
    for dockerfile in DOCKERFILES
    for name, stage in stages_of(dockerfile).items()
    if name != 'uv'
]


def copied_by(stage: Stage) -> Iterator[str]:
    """The paths of the checkout that a stage copies."""
    for words in stage.words_of('COPY'):
        if not any(word.startswith('--from') for word in words):
            yield from (word.rstrip('/') for word in words[:-1] if not word.startswith('--'))


@pytest.mark.parametrize('stage', STAGES)
def test_what_is_copied_exists_and_is_in_the_context(stage):
    rules = (ROOT / '.dockerignore').read_text('utf-8').splitlines()
    kept = {rule[1:] for rule in rules if rule.startswith('!')}
    for path in copied_by(stage):
        assert (ROOT / path).exists(), path
        assert any(path == one or path.startswith(f'{one}/') for one in kept), path


@pytest.mark.parametrize('stage', STAGES)
def test_what_is_run_was_copied_before(stage):
    copied: list[str] = []
    ran = 0
    for keyword, text in stage.instructions:
        if keyword == 'COPY':
            copied += copied_by(Stage(stage.base, ((keyword, text),)))
        elif keyword in {'RUN', 'CMD', 'ENTRYPOINT'}:
            for path in re.findall(r'(?:docker|requirements|tools|deploy)/[\w./]+', text):
                assert any(path == one or path.startswith(f'{one}/') for one in copied), path
                assert (ROOT / path).exists(), path
                ran += 1
    assert ran


def dependencies_of(package: Path) -> set[str]:
    """The distributions that a package names as its dependencies."""
    text = package.read_text('utf-8')
    (listed,) = re.findall(
        r'^ *(?:install_requires|dependencies) ?= ?\[(.*?)\]', text, re.M | re.S
    )
    names = re.findall(r"""^ *['"]([\w-]+)|, ['"]([\w-]+)|^['"]([\w-]+)""", listed, re.M)
    return {''.join(name).replace('_', '-') for name in names}


@pytest.mark.parametrize('stage', STAGES)
def test_what_the_packages_of_an_image_need_is_installed(stage):
    ran = '\n'.join(text for keyword, text in stage.instructions if keyword == 'RUN')
    # What pip is given as a folder, and what colcon builds.
    folders = {ROOT / folder for folder in re.findall(r' \./([\w/]+)', ran)}
    if 'workspace.sh' in ran:
        folders |= {path.parent for path in ROOT.glob('ros2_ws/src/*/setup.py')}
    packages = [path for folder in folders for path in folder.glob('*') if path.name in BUILDS]
    ours = {path.parent.name.replace('_', '-') for path in packages}
    files = [ROOT / name for name in re.findall(r'[\w/]+/\w+\.in\b', ran)]
    theirs = set(re.findall(r'^[\w-]+', '\n'.join(file.read_text() for file in files), re.M))
    assert packages
    for package in packages:
        missing = dependencies_of(package) - theirs - ours
        assert not missing, f'{package.relative_to(ROOT)} needs {missing}'


@pytest.mark.parametrize('stage', STAGES)
def test_nothing_is_run_as_root(stage):
    assert stage.words_of('USER')[-1] == ['${UID}']


def compose(*names: str) -> dict[str, dict[str, Any]]:
    """The services of compose files, the later ones on top, as far as ours need merging."""
    services: dict[str, dict[str, Any]] = {}
    for name in names:
        for service, settings in yaml.safe_load((ROOT / 'docker' / name).read_text())[
            'services'
        ].items():
            mine = services.setdefault(service, {})
            for key, value in settings.items():
                if isinstance(value, dict) and key == 'build':
                    value['args'] = {**mine.get('build', {}).get('args', {}), **value['args']}
                    mine[key] = {**mine.get(key, {}), **value}
                else:
                    mine[key] = value
    return services


@pytest.mark.parametrize(
    'names',
    [
        ['training/compose.yaml'],
        ['x86/compose.yaml'],
        ['jetson/compose.yaml'],
        ['jetson/compose.yaml', 'jetson/compose.jetpack7.yaml'],
    ],
    ids='+'.join,
)
def test_services_build_what_is_there(names):
    folder = (ROOT / 'docker' / names[0]).parent
    for settings in compose(*names).values():
        build = settings['build']
        assert (folder / build['context']).resolve() == ROOT
        stages = stages_of(ROOT / build['dockerfile'])
        stage = stages[build.get('target', list(stages)[-1])]
        declared = {words[0].partition('=')[0] for words in stage.words_of('ARG')}
        assert set(build['args']) <= declared
        base = {**_defaults(stage), **build['args']}.get('BASE_IMAGE', stage.base)
        assert re.fullmatch(r'[\w./-]+:(?!latest)[\w.-]+', base), base
        assert settings['security_opt'] == ['no-new-privileges:true']
        assert 'privileged' not in settings


def _defaults(stage: Stage) -> dict[str, str]:
    pairs = (words[0].partition('=') for words in stage.words_of('ARG'))
    return {name: value for name, _, value in pairs}


def test_a_jetson_has_its_gpu_its_network_and_its_camera():
    services = compose('jetson/compose.yaml')
    for settings in services.values():
        assert (settings['runtime'], settings['network_mode']) == ('nvidia', 'host')
    (device,) = services['inspect']['devices']
    assert '/dev/video0' in device


@pytest.mark.parametrize(
    ('names', 'cuda'),
    [
        (['jetson/compose.yaml'], '12.6'),
        (['jetson/compose.yaml', 'jetson/compose.jetpack7.yaml'], '13.2'),
    ],
    ids=['jetpack6', 'jetpack7'],
)
def test_the_base_of_a_jetson_image_is_told_and_cuda_python_fits_it(names, cuda):
    told = (ROOT / 'docs' / 'packaging.md').read_text('utf-8')
    for settings in compose(*names).values():
        build = settings['build']
        stage = stages_of(ROOT / build['dockerfile'])[build['target']]
        arguments = {**_defaults(stage), **build['args']}
        assert arguments['CUDA_PYTHON_VERSION'].startswith(f'{cuda}.')
        assert f'`{arguments["BASE_IMAGE"].rpartition("/")[2]}`' in told


# ---- the steps of the images


@pytest.mark.parametrize(
    ('distribution', 'codename', 'message'),
    [
        ('humble', 'noble', 'ROS 2 humble is made for Ubuntu jammy, the base image is noble'),
        ('jazzy', 'bookworm', 'ROS 2 jazzy is made for Ubuntu noble, the base image is bookworm'),
        ('noetic', 'focal', 'ROS 2 noetic is not known here: humble, jazzy or kilted'),
    ],
)
def test_ros_is_not_installed_on_another_ubuntu(tmp_path, distribution, codename, message):
    release = tmp_path / 'os-release'
    release.write_text(f'VERSION_CODENAME={codename}\n')
    done = run(STEPS / 'ros.sh', distribution, env={'OS_RELEASE': str(release)})
    assert done.returncode == 1
    assert done.stderr.startswith(f'error: {message}')


@pytest.mark.skipif(
    os.getuid() != 0 or run('unshare', '--mount', 'true').returncode != 0,
    reason='only root can have an /etc of its own',
)
def test_the_user_may_open_cameras_and_owns_the_folders(tmp_path):
    etc, home, models = tmp_path / 'etc', tmp_path / 'home', tmp_path / 'models'
    etc.mkdir()
    home.mkdir()
    for name in ('passwd', 'group', 'shadow', 'gshadow', 'login.defs', 'nsswitch.conf'):
        shutil.copy(Path('/etc', name), etc)
    for name in ('pam.d', 'skel'):
        shutil.copytree(Path('/etc', name), etc / name)
    # As Ubuntu 24.04 has it.
    with (etc / 'passwd').open('a') as users:
        users.write('ubuntu:x:4321:4321::/home/ubuntu:/bin/bash\n')
    mount = f'mount --bind {etc} /etc && mount --bind {home} /home'
    step = f'{STEPS}/user.sh 4321 4321 {models}'
    show = 'id --user --name 4321 && id --groups --name adet'
    done = run('unshare', '--mount', 'bash', '-c', f'{mount} && {step} && {show}')
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ['adet', 'adet', 'video']
    assert (models.stat().st_uid, models.stat().st_gid) == (4321, 4321)


def test_beside_ros_each_package_is_pinned_once(tmp_path):
    """What uv is called with; it is not run, as it would change the Python of this machine."""
    uv = tmp_path / 'uv'
    uv.write_text(
        '#!/usr/bin/env bash\n'
        'while (($#)); do case $1 in --constraint) cat "$2" ;; '
        '--override) sed "s/^/override /" "$2" ;; --requirement) echo "requirement $2" ;; '
        'esac; shift; done\n'
    )
    uv.chmod(0o755)
    path = {'PATH': f'{tmp_path}:{os.environ["PATH"]}'}
    done = run(STEPS / 'python.sh', '--beside-ros', 'requirements/runtime.in', env=path)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert 'requirement requirements/runtime.in' in told
    assert "override opencv-python-headless; sys_platform == 'none'" in told
    pins = [line.partition('==') for line in told if re.match(r'[\w.-]+==', line)]
    assert [version for name, _, version in pins if name == 'numpy'] == ['1.26.4']
    ours = {name for name, _, _ in pins}
    everything = set(re.findall(r'^([\w.-]+)==', (ROOT / 'constraints.txt').read_text(), re.M))
    assert ours == everything - {'opencv-python-headless'}


# ---- what containers and systemd start

SETTINGS = dict(
    line.split('=', 1)
    for line in (DEPLOY / 'adet.env').read_text('utf-8').splitlines()
    if line and not line.startswith('#')
)


def test_the_entry_point_sources_ros_and_the_workspace(tmp_path):
    if not (ROOT / 'ros2_ws' / 'install' / 'local_setup.bash').is_file():
        pytest.skip('the workspace is not built')
    setup = tmp_path / 'jazzy' / 'setup.bash'
    setup.parent.mkdir()
    setup.write_text('export FROM_ROS=yes\n')
    env = {'ROS_ROOT': str(tmp_path), 'ROS_DISTRO': 'jazzy', 'AMENT_PREFIX_PATH': ''}
    show = 'echo "$FROM_ROS $AMENT_PREFIX_PATH"'
    done = run(DEPLOY / 'entrypoint.sh', 'bash', '-c', show, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('yes ')
    assert str(ROOT / 'ros2_ws' / 'install' / 'adet') in done.stdout


@pytest.mark.parametrize(
    ('distribution', 'message'),
    [('', 'ROS_DISTRO is not set'), ('rolling', '/nowhere/rolling/setup.bash: missing')],
)
def test_the_entry_point_says_what_is_missing(distribution, message):
    env = {'ROS_ROOT': '/nowhere', 'ROS_DISTRO': distribution}
    done = run(DEPLOY / 'entrypoint.sh', 'true', env=env)
    assert done.returncode == 1
    assert done.stderr.startswith(f'error: {message}')


@pytest.fixture
def printing(tmp_path) -> dict[str, str]:
    """The settings, and a path with a ``ros2`` that prints what it is given."""
    ros2 = tmp_path / 'ros2'
    ros2.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    ros2.chmod(0o755)
    return {'PATH': f'{tmp_path}:{os.environ["PATH"]}', **SETTINGS}


def test_an_inspection_is_started_with_arguments_that_exist(printing):
    from adet.launch_options import InspectLaunchOptions

    settings = SETTINGS
    env = {**printing, 'ADET_NAMESPACE': 'line1'}
    done = run(DEPLOY / 'inspect.sh', env=env)
    assert done.returncode == 0, done.stderr
    command, arguments = done.stdout.split()[:3], done.stdout.split()[3:]
    assert command == ['launch', 'adet', 'inspect.launch.py']
    given = dict(argument.split(':=') for argument in arguments)
    assert set(given) <= {field.name for field in dataclasses.fields(InspectLaunchOptions)}
    assert (given['model'], given['namespace'], given['respawn']) == ('padim', 'line1', 'true')
    # Each setting of the file means something to what is started.
    scripts = ''.join(path.read_text('utf-8') for path in DEPLOY.glob('*.sh'))
    assert all(name in scripts for name in settings if name != 'ROS_DOMAIN_ID')


@pytest.mark.parametrize(
    ('unit', 'kind'),
    [
        ('adet-console@.service', 'adet_console.options.ConsoleLaunchOptions'),
        ('adet-forwarder@.service', 'adet_forwarder.options.ForwarderLaunchOptions'),
        ('adet-fleet@.service', 'adet_fleet.options.FleetLaunchOptions'),
    ],
)
def test_a_unit_starts_a_launch_file_with_arguments_that_exist(printing, unit, kind):
    module, _, name = kind.rpartition('.')
    pytest.importorskip('adet', reason='adet is not installed')
    options = getattr(importlib.import_module(module), name)
    text = (DEPLOY / unit).read_text('utf-8').replace('\\\n', ' ')
    lines = [line.split('=', 1) for line in text.splitlines() if '=' in line]
    words = ' '.join(value for key, value in lines if key == 'Environment').split()
    values = {**dict(word.split('=', 1) for word in words), **SETTINGS}
    (start,) = (value for key, value in lines if key == 'ExecStart')
    for variable, value in values.items():
        start = start.replace(f'${{{variable}}}', value)
    given = start.partition('/opt/adet/deploy/launch.sh')[2].split()
    done = run(DEPLOY / 'launch.sh', *given, env=printing)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ['launch', module.partition('.')[0]]
    arguments = [word.partition(':=') for word in done.stdout.split()[3:]]
    assert {key for key, _, _ in arguments} <= {one.name for one in dataclasses.fields(options)}
    assert all(value for _, _, value in arguments)


@pytest.mark.skipif(shutil.which('systemd-analyze') is None, reason='systemd is not installed')
def test_systemd_takes_the_units():
    done = run('systemd-analyze', 'verify', *DEPLOY.glob('*.service'))
    assert (done.returncode, done.stderr) == (0, '')
