# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What every output offers."""

from __future__ import annotations

from collections.abc import Sequence
import importlib
from typing import Any, Protocol

from adet_core.errors import AdetError, ConfigError
from adet_forwarder.message import Message


class OutputError(AdetError):
    """Nothing could be delivered; the same rows are sent again.

    Attributes:
        wait_s: Seconds that the receiver asked to wait; 0: it did not.
    """

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        """Say why."""
        super().__init__(text)
        self.wait_s = wait_s


class Output(Protocol):
    """Where rows go.

    Attributes:
        portion: The most rows that it takes at once.
    """

    portion: int

    def deliver(self, batch: Sequence[Message]) -> int:
        """Deliver rows.

        Returns:
            How many of the first ones the receiver has for certain; 0: it waits for more rows.

        Raises:
            OutputError: None arrived for certain.
        """

    def tick(self) -> None:
        """Called at least once a second."""

    def close(self) -> None:
        """End; called once."""


def load(module: str, package: str, output: str) -> Any:
    """Import the library of an output.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        msg = f'output {output} needs {package} ({error}): pip install {package}'
        raise ConfigError(msg) from None
