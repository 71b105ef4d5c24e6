# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What is read from an exported graph without running it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper, TensorProto

from adet_core.errors import BackendError
from adet_core.inference.session import first_line


class OnnxGraph:
    """An ONNX model, parsed.

    Attributes:
        shapes: Shape of each input by name; None is a free length.
        metadata: What its exporter added.
    """

    def __init__(self, graph: bytes) -> None:
        """Parse an ONNX model.

        Raises:
            BackendError: It is none.
        """
        try:
            self._model = onnx.load_from_string(graph)
        except Exception as error:  # noqa: BLE001 - protobuf's errors depend on its version
            raise BackendError(f'cannot load the graph: {first_line(error)}') from None
        self.metadata = {one.key: one.value for one in self._model.metadata_props}
        self.shapes: dict[str, tuple[int | None, ...]] = {
            one.name: tuple(
                axis.dim_value if axis.HasField('dim_value') else None
                for axis in one.type.tensor_type.shape.dim
            )
            for one in self._model.graph.input
        }

    @property
    def has_external_data(self) -> bool:
        """Whether some of it is in other files."""
        return _is_external(self._model)

    def constant(self, name: str) -> npt.NDArray[np.float32]:
        """A float32 initializer.

        Raises:
            BackendError: There is none of that name and type in the file.
        """
        for one in self._model.graph.initializer:
            # Data in another file would be read from wherever the graph says.
            if one.name == name and one.data_type == TensorProto.FLOAT and not one.external_data:
                return np.asarray(numpy_helper.to_array(one), np.float32)
        msg = f'the graph has no float32 constant {name!r:.100}; export the bundle again'
        raise BackendError(msg)

    def find_constant(self, array: npt.NDArray[np.float32]) -> str:
        """The name of the float32 initializer that holds an array.

        Raises:
            BackendError: There is none.
        """
        data, dims = array.tobytes(), list(array.shape)
        for one in self._model.graph.initializer:
            fits = one.data_type == TensorProto.FLOAT and list(one.dims) == dims
            if fits and numpy_helper.to_array(one).tobytes() == data:
                return str(one.name)
        msg = f'the graph has no constant of shape {array.shape} with the given values'
        raise BackendError(msg)


def _is_external(message: Any) -> bool:
    """Whether any tensor in a message is in another file; a branch or a function may hold it."""
    if isinstance(message, TensorProto):
        return bool(message.external_data) or message.data_location == TensorProto.EXTERNAL
    return any(
        _is_external(one)
        for field, value in message.ListFields()
        if field.message_type is not None
        for one in ([value] if hasattr(value, 'ListFields') else value)
    )
