# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The GPU, through whichever Python package of CUDA is there: cuda-python or pycuda."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import ctypes
from dataclasses import dataclass
import functools
from importlib import import_module
import os
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from adet_core.errors import BackendError, ConfigError

HostArray = npt.NDArray[np.uint8]

# In the order of preference: cuda-python needs no compiler on the robot and has CUDA graphs.
_PACKAGES = {
    'cuda-python': ('adet_core.inference.tensorrt.cuda_python', 'cuda-python'),
    'pycuda': ('adet_core.inference.tensorrt.pycuda', 'pycuda'),
}
_DRIVER = 'libcuda.so.1'


class CudaError(Exception):
    """A call of CUDA failed."""


class CudaMemoryError(CudaError):
    """There is too little memory, on the device or page-locked on the host."""


@dataclass(frozen=True)
class RunOptions:
    """How engines run; set by environment variables, as a machine's property.

    Attributes:
        package: ``ADET_CUDA``: ``auto``, ``cuda-python`` or ``pycuda``.
        graphs: ``ADET_CUDA_GRAPHS``: launch an image's copies and kernels as one CUDA graph.
        streams: ``ADET_CUDA_STREAMS``: 2 lets the copies of one image overlap with the run of
            another, and the processor preprocess an image while the GPU runs; 1 saves memory.
        zero_copy: ``ADET_CUDA_ZERO_COPY``: the GPU reads images from the host's memory and writes
            predictions there. For boards like Jetson, whose memory is one.
    """

    package: str = 'auto'
    graphs: bool = True
    streams: int = 2
    zero_copy: bool = False

    @classmethod
    def from_environment(cls) -> RunOptions:
        """What the environment says.

        Raises:
            ConfigError: A variable has a value that is unknown; the message names it.
        """
        return cls(
            package=_choose('ADET_CUDA', {name: name for name in ('auto', *_PACKAGES)}),
            graphs=_choose('ADET_CUDA_GRAPHS', {'1': True, '0': False}),
            streams=_choose('ADET_CUDA_STREAMS', {'2': 2, '1': 1}),
            zero_copy=_choose('ADET_CUDA_ZERO_COPY', {'0': False, '1': True}),
        )


def _choose(variable: str, values: dict[str, Any]) -> Any:
    """The value of an environment variable; the first one if it is not set."""
    text = os.environ.get(variable) or next(iter(values))
    if text not in values:
        msg = f'{variable} is {text!r}, expected one of: {", ".join(values)}'
        raise ConfigError(msg)
    return values[text]


class Memory(ABC):
    """Memory that the GPU can reach; given back when nobody refers to it any more.

    Attributes:
        address: On the device.
    """

    address: int


class PinnedMemory(ABC):
    """Page-locked memory of the host.

    Attributes:
        array: uint8 ``(size,)``.
        address: Where the device reads and writes it, if it was asked to be mapped; else 0.
    """

    array: HostArray
    address: int


class CudaGraph(ABC):
    """Work that was recorded once and is launched as a whole."""

    @abstractmethod
    def launch(self) -> None:
        """Queue all of it on the stream that it was recorded on."""


class Stream(ABC):
    """A queue of copies and runs, independent of all others.

    Attributes:
        handle: For TensorRT.
    """

    handle: int

    @abstractmethod
    def to_device(self, address: int, array: npt.NDArray[Any]) -> None:
        """Queue a copy of a contiguous array to the device."""

    @abstractmethod
    def to_host(self, array: npt.NDArray[Any], address: int) -> None:
        """Queue a copy from the device into a contiguous array."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for everything that is queued."""

    @abstractmethod
    def record(self, work: Callable[[], None]) -> CudaGraph:
        """Record what a function queues here instead of running it.

        Raises:
            CudaError: It cannot be recorded; the stream is as it was.
        """


class Gpu(ABC):
    """The GPU that engines are built for and run on.

    All other methods are for threads where it is `current`.

    Attributes:
        name: E.g. ``Orin``.
        capability: Compute capability, e.g. ``8.7``.
        package: The Python package it is used through.
        no_graphs: Why there are no CUDA graphs; empty if there are.
    """

    name: str
    capability: str
    package: str
    no_graphs: str = ''

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make it current in this thread, whichever thread that is.

        Raises:
            BackendError: CUDA failed, e.g. memory is short or the GPU is lost.
        """
        try:
            with self._current():
                yield
        except CudaMemoryError as error:
            msg = f'{self.name} is out of memory ({error}); run fewer models, or a smaller bank'
            raise BackendError(msg) from None
        except CudaError as error:
            # An error of a kernel, or a lost GPU, stays with the process.
            raise BackendError(f'{self.name} failed ({error}); start the node again') from None

    @abstractmethod
    def _current(self) -> Any:
        """A context manager; raises `CudaError` for all that fails in it."""

    @abstractmethod
    def memory(self, size: int) -> Memory:
        """Take this many bytes on the device."""

    @abstractmethod
    def pinned(self, size: int, *, mapped: bool = False) -> PinnedMemory:
        """Take this many page-locked bytes on the host, which the device reaches if mapped."""

    @abstractmethod
    def stream(self) -> Stream:
        """Make a stream."""

    @abstractmethod
    def free_memory(self) -> int:
        """Free bytes on the device."""


@functools.cache
def find_gpu() -> Gpu:
    """The first GPU that this process may see.

    Raises:
        BackendError: There is none, or no package to use it with.
        ConfigError: ``ADET_CUDA`` is unknown.
    """
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        raise BackendError(f'no GPU can be used: no NVIDIA driver ({_DRIVER}) is here') from None
    chosen = RunOptions.from_environment().package
    reasons = []
    for package in _PACKAGES if chosen == 'auto' else [chosen]:
        module, install = _PACKAGES[package]
        try:
            return cast('Gpu', import_module(module).open_gpu())
        except ImportError as error:
            reasons.append(f'{package}: {error}; install it with: pip install {install}')
        except CudaError as error:
            reasons.append(f'{package}: {error}')
    raise BackendError(f'no GPU can be used ({"; ".join(reasons)})')
