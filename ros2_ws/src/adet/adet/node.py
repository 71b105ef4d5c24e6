# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What the nodes of adet have in common: declared options, an end, and an orderly stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
import re
import threading
from typing import Any, ClassVar, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    NameValidationException,
)
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future

from adet.parameters import checked, default_of, options_of
from adet_core.errors import AdetError, ConfigError, did_you_mean

T = TypeVar('T')
RCLError = rclpy_implementation.RCLError

_TYPES = {
    'bool': Parameter.Type.BOOL,
    'int': Parameter.Type.INTEGER,
    'float': Parameter.Type.DOUBLE,
    'str': Parameter.Type.STRING,
    'list[float]': Parameter.Type.DOUBLE_ARRAY,
}
# Services that set the log level at run time; Humble has none.
LOG_LEVELS = (
    {'enable_logger_service': True}
    if 'enable_logger_service' in signature(Node.__init__).parameters
    else {}
)
_UNBOUNDED = {'int': 2**62, 'float': 1e300}


@contextmanager
def ros_errors() -> Iterator[None]:
    """Say in one line what ROS 2 does not accept of the environment or the command line.

    Raises:
        ConfigError: For every error of ROS 2 in the block.
    """
    try:
        yield
    except (RCLError, NameValidationException) as error:
        # Where in the C sources it was found is of no use to anybody.
        reason = re.sub(r', at /\S+:\d+', '', str(error)).splitlines()[0]
        msg = f'ROS 2 cannot start: {reason}'
        raise ConfigError(msg) from None


class AdetNode(Node):  # type: ignore[misc]  # rclpy is untyped
    """A node that can end a run: by finishing its work, or by failing.

    Attributes:
        done: Set when there is nothing left to do, or to the error that stopped the node.
    """

    def __init__(self, name: str, **options: Any) -> None:
        """Create the node; ``options`` are rclpy's own.

        Raises:
            ConfigError: ROS 2 takes no such name, or its security is not set up.
        """
        with ros_errors():
            super().__init__(name, **LOG_LEVELS, **options)
        self.done: Any = Future()

    def declare(self, kind: type[T]) -> T:
        """Declare every option of a dataclass as a read-only parameter, and read them.

        Raises:
            ConfigError: One is missing, of another type or out of range; names it.
        """
        return checked(kind(**{spec.name: self._declare(spec) for spec in options_of(kind)}))

    def finish(self) -> None:
        """End the run: the work is done."""
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        """End the run with an error."""
        if not self.done.done():
            self.done.set_exception(error)

    def stop(self) -> None:
        """End threads and close files; called once, before the node is destroyed."""

    async def in_thread(self, work: Callable[[], T], name: str) -> T:
        """Await long work of a callback in a thread, as the executor has to go on.

        Args:
            work: What it raises is raised here.
            name: Of the thread.
        """
        executor = self.executor
        ended: Any = Future(executor=executor)

        def do() -> None:
            try:
                ended.set_result(work())
            except Exception as error:  # noqa: BLE001 - handed to who awaits it
                ended.set_exception(error)
                # Where the node is stopping, nobody comes to take it, which rclpy would tell.
                ended.exception()
            # A waiting coroutine is only looked at when something wakes the executor.
            executor.wake()

        threading.Thread(target=do, name=name, daemon=True).start()
        done: T = await ended
        return done

    def declare_one(self, name: str, default: Any, descriptor: ParameterDescriptor) -> Any:
        """Declare one parameter and read it.

        Args:
            name: Its name.
            default: Its value if none is given, or its type if one has to be.
            descriptor: What people are told of it.

        Raises:
            ConfigError: It is missing, of another type or out of range.
        """
        if self.has_parameter(name):
            # Of an earlier configuration of a managed node.
            return self.get_parameter(name).value
        try:
            value = self.declare_parameter(name, default, descriptor).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            msg = f'{self.get_name()}: parameter {name}: {error}'
            raise ConfigError(msg) from None
        if value is None:
            msg = f'{self.get_name()}: parameter {name} is required: {descriptor.description}'
            raise ConfigError(msg)
        return value

    def warn_of_unknown(self) -> None:
        """Name the given parameters that are not declared but resemble one that is.

        A file may have parameters for all nodes of a robot, so others are passed over.
        """
        # rclpy keeps both to itself.
        declared = set(self._parameters)
        for name in set(self._parameter_overrides) - declared:
            if similar := did_you_mean(name, declared):
                self.get_logger().warning(f'unknown parameter {name!r}{similar}')

    def _declare(self, spec: Any) -> Any:
        default = default_of(spec)
        given = _TYPES[spec.type] if default is None else default
        return self.declare_one(spec.name, given, _descriptor(spec))


class WorkerNode(AdetNode):
    """A node with a thread of its own, so that long work holds no callback up.

    Attributes:
        changed: Guards what thread and callbacks share; notified when it changes.
        stopping: Set when the thread has to end.
        working: The nodes that were started and not stopped: a signal may come when nobody else
            knows a node yet, and its thread would keep the process.
    """

    working: ClassVar[set[WorkerNode]] = set()

    def __init__(self, name: str, **options: Any) -> None:
        """Create the node; the thread begins with `start`."""
        super().__init__(name, **options)
        self.changed = threading.Condition()
        self.stopping = False
        self._thread: threading.Thread | None = None

    @property
    def is_working(self) -> bool:
        """Whether a task was begun, and not halted."""
        return self in self.working

    def start(self, task: Callable[[], None]) -> None:
        """Begin a task in the thread; what it fails with ends the run."""
        self.stopping = False
        self.working.add(self)
        self._thread = threading.Thread(target=self._work, args=(task,), name=self.get_name())
        self._thread.start()

    def stop(self) -> None:
        """See `AdetNode.stop`."""
        self.halt()

    def halt(self) -> None:
        """Wait for the thread to end after the image it is at; `start` may begin another."""
        with self.changed:
            self.stopping = True
            self.changed.notify_all()
        # It has no number if a signal came before it ran.
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join()
        self.working.discard(self)

    def _work(self, task: Callable[[], None]) -> None:
        try:
            task()
        except AdetError as error:
            self.fail(error)
        except Exception as error:
            # When the process is told to stop, the context ends under a thread's feet.
            if self.context.ok():
                self.fail(error)
                raise


def _descriptor(spec: Any) -> ParameterDescriptor:
    limits = spec.metadata
    descriptor = ParameterDescriptor(description=limits['description'], read_only=True)
    if limits['choices']:
        descriptor.additional_constraints = f'one of: {", ".join(limits["choices"])}'
    if limits['minimum'] is not None or limits['maximum'] is not None:
        bound = _UNBOUNDED[spec.type]
        low = -bound if limits['minimum'] is None else limits['minimum']
        high = bound if limits['maximum'] is None else limits['maximum']
        if spec.type == 'int':
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high))
            ]
    return descriptor
