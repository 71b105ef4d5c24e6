# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs for a TensorRT that does not read their operator set."""

from __future__ import annotations

import onnx
from onnx import helper, numpy_helper

from adet_core.errors import BackendError

OPSET = 17
"""What TensorRT 8.6 reads."""


def downgrade_opset(graph: bytes) -> bytes:
    """The same graph in operator set 17.

    What it has that is newer is the spelling: axes that became an input go back to an attribute,
    and attributes are left out that say what was always so. ONNX's own converter knows no way back
    for Split.

    Args:
        graph: An ONNX model in operator set 18.

    Raises:
        BackendError: It needs what is not in there.
    """
    model = onnx.load_from_string(graph)
    constants = {one.name: one for one in model.graph.initializer}
    for node in model.graph.node:
        try:
            known = onnx.defs.get_schema(node.op_type, OPSET).attributes
        except onnx.defs.SchemaError:
            raise _error(f'there is no {node.op_type}') from None
        kept = [one for one in node.attribute if one.name in known]
        if 'axes' in known and len(node.input) == 2 and node.input[1] in constants:
            axes = numpy_helper.to_array(constants[node.input.pop()])
            kept.append(helper.make_attribute('axes', axes.tolist()))
        del node.attribute[:]
        node.attribute.extend(kept)
    for one in model.opset_import:
        if not one.domain:
            one.version = OPSET
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise _error(str(error).splitlines()[0]) from None
    return bytes(model.SerializeToString())


def _error(reason: str) -> BackendError:
    return BackendError(f'the graph cannot be written in operator set {OPSET}: {reason}')
