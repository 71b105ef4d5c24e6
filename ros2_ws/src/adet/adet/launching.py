# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What the launch files share: arguments from options, and nodes from a graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, Field
import os
from pathlib import Path
import sys
from typing import Any, TypeVar

from launch.action import Action
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, Shutdown
from launch.events.process import ProcessExited, ShutdownProcess
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from adet.companions import CONSOLE_PACKAGE, console_parameters
from adet.environment import END_WITH_PARENT
from adet.graph import NodeSpec, PACKAGE
from adet.launch_options import InspectOptions
from adet.names import check_known
from adet.parameters import default_text, from_texts, options_of
from adet_core.errors import AdetError
from launch import LaunchContext, LaunchDescription

T = TypeVar('T')
# A node that was killed at its start leaves time for the others.
_RESPAWN_DELAY_S = 2.0
OnExit = Callable[[ProcessExited, LaunchContext], Any]


class NodeFailedError(AdetError):
    """A node ended with an error: what makes ``ros2 launch`` exit with 1."""


def declare_arguments(kind: type[Any]) -> list[DeclareLaunchArgument]:
    """A launch argument for every option of a dataclass."""
    return [_argument(spec) for spec in options_of(kind)]


def chosen(kind: type[T], context: LaunchContext, file: str) -> T:
    """The options that a launch file was given.

    Args:
        kind: A dataclass of options.
        context: Of the launch.
        file: Path of the launch file.

    Raises:
        ConfigError: One is missing, not of its type, or unknown. In an included file, launch does
            not tell which arguments are meant for it, so an unknown one is not noticed.
    """
    if is_launched_itself(file):
        given = [word.partition(':=')[0] for word in context.argv if ':=' in word]
        check_known(given, [spec.name for spec in options_of(kind)], 'launch argument')
    return from_texts(kind, context.launch_configurations)


def is_launched_itself(file: str) -> bool:
    """Whether a launch file was named on the command line, not included by another one."""
    return Path(file).name in {Path(word).name for word in sys.argv}


def start_node(
    spec: NodeSpec,
    namespace: str,
    on_exit: OnExit,
    *,
    respawn: bool = False,
    params_file: str = '',
) -> Node:
    """A node of a graph.

    Args:
        spec: The node.
        namespace: Where it lives.
        on_exit: What its end leads to; nothing where it is started again.
        respawn: Start it again whenever it ends, until the launch is shut down.
        params_file: Parameters that go before those of the graph.
    """
    return Node(
        package=PACKAGE,
        executable=spec.executable,
        name=spec.name,
        namespace=namespace,
        parameters=[_texts_kept(spec.parameters), *([params_file] if params_file else [])],
        remappings=list(spec.remappings),
        output='screen',
        additional_env={END_WITH_PARENT: str(os.getpid())},
        respawn=respawn,
        respawn_delay=_RESPAWN_DELAY_S,
        # launch does these at every end, also before a process is started again.
        on_exit=None if respawn else on_exit,
    )


def _texts_kept(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Texts stay texts: launch would read a folder called 1e5 as a number."""
    return {
        key: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for key, value in parameters.items()
    }


def describe_alone(
    kind: type[Any], *, package: str, executable: str, file: str
) -> LaunchDescription:
    """A launch file of one node that starts and ends apart from the inspection.

    Args:
        kind: Dataclass of its options, with ``namespace``; all others are its parameters.
        package: Of the node.
        executable: Of the node.
        file: Path of the launch file.
    """

    def start(context: LaunchContext) -> list[Node]:
        values = asdict(chosen(kind, context, file))
        namespace = values.pop('namespace')
        return [
            Node(
                package=package,
                executable=executable,
                namespace=namespace,
                parameters=[_texts_kept(values)],
                output='screen',
            )
        ]

    return LaunchDescription([*declare_arguments(kind), OpaqueFunction(function=start)])


def start_console(options: InspectOptions) -> Node:
    """The console of an inspection; its end is the end of nothing else."""
    return Node(
        package=CONSOLE_PACKAGE,
        executable='console',
        namespace=options.namespace,
        parameters=[_texts_kept(console_parameters(options))],
        output='screen',
        additional_env={END_WITH_PARENT: str(os.getpid())},
    )


def start_composed(texts: Mapping[str, str], on_exit: OnExit) -> Node:
    """All nodes of an inspection in one process.

    Args:
        texts: Its options, by name; see `adet.graph.composition`.
        on_exit: What its end leads to.
    """
    return Node(
        package=PACKAGE,
        executable='inspection',
        arguments=[f'--{name}={text}' for name, text in texts.items()],
        output='screen',
        additional_env={END_WITH_PARENT: str(os.getpid())},
        on_exit=on_exit,
    )


def end_launch(event: ProcessExited, context: LaunchContext) -> list[Action]:
    """The end of a node is the end of the launch.

    Raises:
        NodeFailedError: The node has failed.
    """
    if context.is_shutdown:
        return []
    if event.returncode:
        msg = f'{event.process_name} has failed (exit code {event.returncode}), see above'
        raise NodeFailedError(msg)
    return [Shutdown(reason=f'{event.process_name} has ended')]


def end_nodes(nodes: Collection[Any]) -> OnExit:
    """The end of a node is the end of these nodes; what else the launch runs goes on."""

    def end(event: ProcessExited, context: LaunchContext) -> Iterable[Action]:
        if context.is_shutdown:
            return []
        return [
            EmitEvent(event=ShutdownProcess(process_matcher=lambda action, n=node: action is n))
            for node in nodes
            if node is not event.action
        ]

    return end


def _argument(spec: Field[Any]) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(
        spec.name,
        default_value=default_text(spec),
        description=spec.metadata['description'],
    )
