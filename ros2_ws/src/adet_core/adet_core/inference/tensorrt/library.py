# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which TensorRT there is: that of JetPack and servers, or TensorRT for RTX."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from adet_core.errors import BackendError

_FOR_RTX = 'tensorrt_rtx'
_NAMES = ('tensorrt', _FOR_RTX)


class TensorRtLibrary(NamedTuple):
    """A TensorRT that can be imported.

    Attributes:
        name: Of the Python module: ``tensorrt`` or ``tensorrt_rtx``.
        version: E.g. ``10.3.0``.
        api: The module.
    """

    name: str
    version: str
    api: Any

    def __str__(self) -> str:
        """For people."""
        return f'{self.name} {self.version}'

    @property
    def needs_gpu(self) -> bool:
        """Whether it builds only where there is a GPU."""
        return self.name != _FOR_RTX

    @property
    def reads_opset_18(self) -> bool:
        """Whether it reads the graph's operator set: from TensorRT 9 on."""
        return int(self.version.partition('.')[0]) >= 9 or self.name == _FOR_RTX

    @property
    def can_choose_types(self) -> bool:
        """Whether builder flags may give layers other types than the graph: up to TensorRT 10."""
        return hasattr(self.api.BuilderFlag, 'FP16')

    @property
    def can_keep_types(self) -> bool:
        """Whether a network can be told to keep the graph's types: from TensorRT 9 on."""
        return hasattr(self.api.NetworkDefinitionCreationFlag, 'STRONGLY_TYPED')

    def check(self, name: str, capability: str) -> None:
        """Check that engines can be built for a GPU: TensorRT for RTX leaves data centres out.

        Args:
            name: Of the GPU.
            capability: Its compute capability, e.g. ``8.7``.

        Raises:
            BackendError: They cannot.
        """
        if self.name != _FOR_RTX:
            return
        known = {
            int(kind.removeprefix('SM'))
            for kind in self.api.ComputeCapability.__members__
            if kind.startswith('SM')
        }
        number = int(capability.replace('.', ''))
        # It builds for the GPUs to come, too.
        if number not in known and number < max(known):
            msg = f'{self} does not run on {name}, of compute capability {capability}'
            raise BackendError(f'{msg}; install TensorRT itself, or onnxruntime-gpu')

    def make_log(self) -> Any:
        """A logger that keeps TensorRT's errors, for `last_error`."""
        trt = self.api

        class Log(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.errors: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                """Called by TensorRT, from any of its threads."""
                if severity in {trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR}:
                    # In service it lives as long as the node.
                    self.errors[:] = [message]

        return Log()


def last_error(log: Any) -> str:
    """The last error that TensorRT told a logger, in one line."""
    return ' '.join(log.errors[-1].split()) if log.errors else 'it gives no reason'


def is_installed() -> bool:
    """Whether there is a TensorRT, without loading it."""
    return any(find_spec(name) is not None for name in _NAMES)


def find_library() -> TensorRtLibrary:
    """The TensorRT of this machine; the full one comes first.

    Raises:
        BackendError: There is none.
    """
    reasons = []
    for name in _NAMES:
        try:
            api = import_module(name)
            return TensorRtLibrary(name, str(api.__version__), api)
        # A module whose libraries are missing says so in its own ways.
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            reasons.append(str(error).splitlines()[0])
    msg = f'TensorRT is not installed ({"; ".join(reasons)}); JetPack brings it'
    raise BackendError(msg)
