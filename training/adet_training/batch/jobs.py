# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The file of jobs: commands with options, as a list or a grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
import itertools
from pathlib import Path
import re
from typing import Any

import yaml

from adet_core.bundle.decode import decode
from adet_core.errors import ConfigError, did_you_mean
from adet_core.folder import open_regular
from adet_training.batch.inputs import expand, fingerprint

COMMANDS = ('distill', 'evaluate', 'export', 'train', 'tune')
_LARGEST = 1 << 22
_MOST = 100_000
# Where a job writes: no part of what it is made of.
_OUTPUTS = frozenset({'models-root', 'report', 'storage'})


@dataclass(frozen=True, kw_only=True)
class JobGroup:
    """One entry of ``jobs``.

    Attributes:
        command: distill, evaluate, export, train or tune.
        options: Of the command, without dashes; a list is given several times. ``BUNDLE`` and the
            like are under ``positional``.
        positional: Arguments without a flag.
        grid: Options with lists of values: a job for each combination.
        each: One option with a pattern, a folder and a pattern in it or an address of fsspec with
            one, or a list of these: a job for each file or folder that matches.
        cpus: Cores of one job.
        gpus: GPUs of one job; a share is allowed on Ray.
        timeout_s: Seconds after which a job has failed; 0: never.
    """

    command: str
    options: dict[str, Any] = field(default_factory=dict)
    positional: tuple[str, ...] = ()
    grid: dict[str, Any] = field(default_factory=dict)
    each: dict[str, Any] = field(default_factory=dict)
    cpus: int = 1
    gpus: float = 0.0
    timeout_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class JobsFile:
    """The whole file.

    Attributes:
        jobs: What to run.
        options: For every job whose command has them.
        retries: How often a job that failed is run again.
    """

    jobs: tuple[JobGroup, ...]
    options: dict[str, Any] = field(default_factory=dict)
    retries: int = 2


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command line.

    Attributes:
        name: Of its files; unique.
        command: The subcommand.
        words: What follows it.
        remote: Addresses among the words that are copied to the machine first.
        fingerprint: Of command line and inputs: a finished job of the same is not run again.
        cpus: Cores.
        gpus: GPUs.
        timeout_s: Longest time; 0: any.
        told: What distinguishes it, for tables.
    """

    name: str
    command: str
    words: tuple[str, ...]
    remote: tuple[str, ...]
    fingerprint: str
    cpus: int
    gpus: float
    timeout_s: float
    told: dict[str, str]


def read_jobs(path: Path) -> tuple[list[Job], int]:
    """Read the file; returns its jobs, and how often one is run again.

    Raises:
        ConfigError: It cannot be read, or names nothing that can be run.
    """
    try:
        with open_regular(path) as file:
            values = yaml.safe_load(file.read(_LARGEST))
        described = decode(JobsFile, _tuples(values))
    except OSError as error:
        msg = f'{path}: {error.strerror}'
        raise ConfigError(msg) from None
    except (ValueError, yaml.YAMLError) as error:
        msg = f'{path}: {" ".join(str(error).split())}'
        raise ConfigError(msg) from None
    jobs: dict[str, Job] = {}
    for group in described.jobs:
        for job in _jobs_of(group, described.options, path):
            jobs.setdefault(job.name, job)
            if len(jobs) > _MOST:
                msg = f'{path}: describes more than {_MOST} jobs'
                raise ConfigError(msg)
    if not jobs:
        msg = f'{path}: describes no job'
        raise ConfigError(msg)
    return list(jobs.values()), described.retries


def _tuples(values: Any) -> Any:
    """YAML has no field for what the file leaves out."""
    return {} if values is None else values


def _jobs_of(group: JobGroup, shared: Mapping[str, Any], path: Path) -> Iterator[Job]:
    if group.command not in COMMANDS:
        msg = f'{path}: command is {group.command!r}, expected one of: {", ".join(COMMANDS)}'
        raise ConfigError(msg)
    if len(group.each) > 1:
        msg = f'{path}: each has {len(group.each)} options, expected one'
        raise ConfigError(msg)
    axes = _axes(group, path)
    accepted = _accepted(group.command)
    for name in [*group.options, *axes]:
        if name not in accepted:
            msg = f'{path}: adet {group.command} has no option --{name}'
            raise ConfigError(msg + did_you_mean(name, accepted))
    fitting = {name: value for name, value in shared.items() if name in accepted}
    for chosen in itertools.product(*axes.values()):
        told = dict(zip(axes, chosen, strict=True))
        yield _job(group, {**fitting, **group.options, **told}, told)


def _axes(group: JobGroup, path: Path) -> dict[str, list[Any]]:
    """The values of each option of which every combination is a job.

    Raises:
        ConfigError: There are none of one.
    """
    axes: dict[str, list[Any]] = {}
    for name, given in group.grid.items():
        if not isinstance(given, list) or not given:
            msg = f'{path}: grid.{name} is {given!r:.60}, expected a list of values'
            raise ConfigError(msg)
        axes[name] = given
    for name, patterns in group.each.items():
        axes[name] = []
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            if not (isinstance(pattern, str) and (found := expand(pattern))):
                msg = f'{path}: each.{name}: nothing matches {pattern}'
                raise ConfigError(msg)
            axes[name] += found
    return axes


def _job(group: JobGroup, options: Mapping[str, Any], told: Mapping[str, Any]) -> Job:
    words = [*group.positional]
    for name, value in options.items():
        if value is True:
            words.append(f'--{name}')
        elif value is not False:
            values = value if isinstance(value, list) else [value]
            words += [f'--{name}={one}' for one in values]
    inputs = {name: value for name, value in options.items() if name not in _OUTPUTS}
    checksum = fingerprint(group.command, words, inputs, group.positional)
    plain = {name: str(value) for name, value in told.items()}
    slug = '-'.join([group.command, *(_slug(value) for value in plain.values())])
    return Job(
        name=f'{slug[:80]}-{checksum[:10]}',
        command=group.command,
        words=tuple(words),
        remote=tuple(text for text in plain.values() if '://' in text),
        fingerprint=checksum,
        cpus=group.cpus,
        gpus=group.gpus,
        timeout_s=group.timeout_s,
        told=plain,
    )


def _slug(text: str) -> str:
    return re.sub(r'[^A-Za-z0-9_.]+', '_', text.rstrip('/').rpartition('/')[2])[:40]


def _accepted(command: str) -> set[str]:
    """The options that a command has, without dashes."""
    import argparse

    from adet_core.cli import load_command

    parser = argparse.ArgumentParser(add_help=False)
    load_command(command).add_arguments(parser)
    return {
        text.removeprefix('--')
        for action in parser._actions  # noqa: SLF001
        for text in action.option_strings
    }
