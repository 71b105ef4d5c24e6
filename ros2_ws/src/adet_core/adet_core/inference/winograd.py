# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Rewrites convolutions into Winograd's form, which needs a quarter of the multiplications.

Lavin and Gray: Fast Algorithms for Convolutional Neural Networks, CVPR 2016,
https://arxiv.org/abs/1509.09308. TensorRT and cuDNN do this by themselves, ONNX Runtime's CPU
provider does not.

An output tile of ``s x s`` pixels depends on an input tile d of ``6 x 6`` pixels. Its convolution
with a kernel g is ``y = A'((G g G') * (B' d B))A``: the input transform B, the kernel transform G,
36 products instead of ``s s r r``, and the output transform A. Over all channels the products
become 36 matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, TensorProto

# Five points and infinity: tiles of 6 x 6, for kernels of 3 x 3 and 4 x 4. These points lose the
# fewest digits: about one of the seven of float32.
_POINTS = np.array([0, 1, -1, 0.5, -2])
_TILE = len(_POINTS) + 1
_KERNELS = (3, 4)
# With fewer channels or tiles, the transforms take as long as the multiplications that they save.
_LEAST_CHANNELS = 128
_LEAST_TILES = 16
# Bytes of products in memory at a time: they should stay in a cache for the next operation, and
# memory should not grow with the image.
_PRODUCTS = 32 << 20


class _Convolution(NamedTuple):
    """A convolution that can be rewritten.

    Attributes:
        node: Its node in the graph.
        shape: Shape of its weights, ``(M, C, r, r)``.
        pads: Rows of zeros above and columns of zeros on the left of the input.
        source: Rows and columns of the input.
        target: Rows and columns of the output.
    """

    node: onnx.NodeProto
    shape: tuple[int, ...]
    pads: tuple[int, int]
    source: tuple[int, int]
    target: tuple[int, int]

    @property
    def step(self) -> int:
        """Rows and columns of an output tile."""
        return _TILE - self.shape[2] + 1

    @property
    def tiles(self) -> tuple[int, int]:
        """Number of tiles in rows and columns; the last ones may reach over the edge."""
        return -(-self.target[0] // self.step), -(-self.target[1] // self.step)

    @property
    def pays(self) -> bool:
        """Whether Winograd's form is quicker."""
        tiles = math.prod(self.tiles)
        plain = math.prod(self.target) * self.shape[2] ** 2
        return (
            min(self.shape[:2]) >= _LEAST_CHANNELS
            and tiles >= _LEAST_TILES
            and 2 * tiles * _TILE**2 <= plain
        )


def use_winograd(graph: bytes) -> bytes:
    """Rewrite the convolutions of a graph for which Winograd's form is quicker.

    They have float32 weights, a kernel of 3 x 3 or 4 x 4, strides of one, and an input of known
    size. All other nodes stay as they are.

    Args:
        graph: An ONNX model.

    Returns:
        The rewritten model, or the same bytes if there is nothing to rewrite.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph))
    parts = model.graph
    chosen = {one.node.output[0]: one for one in _convolutions(parts) if one.pays}
    if not chosen:
        return graph
    nodes: list[onnx.NodeProto] = []
    for node in parts.node:
        if one := chosen.get(node.output[0]):
            nodes += _Tiled(one, parts.initializer).nodes
        else:
            nodes.append(node)
    del parts.node[:]
    parts.node.extend(nodes)
    return bytes(model.SerializeToString())


def _convolutions(parts: onnx.GraphProto) -> Iterator[_Convolution]:
    """The convolutions that can be rewritten."""
    sizes = {
        one.name: tuple(axis.dim_value for axis in one.type.tensor_type.shape.dim)
        for one in [*parts.value_info, *parts.input, *parts.output]
    }
    constants = {
        one.name: one
        for one in parts.initializer
        # Data in another file would be read from wherever the graph says.
        if one.data_type == TensorProto.FLOAT and not one.external_data
    }
    for node in parts.node:
        names = [name for name in node.input[1:] if name]
        if node.op_type != 'Conv' or not constants.keys() >= set(names):
            continue
        given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        usual = {'group': 1, 'strides': [1, 1], 'dilations': [1, 1], 'auto_pad': b'NOTSET'}
        shape = tuple(constants[names[0]].dims)
        source, target = (sizes.get(name, ()) for name in (node.input[0], node.output[0]))
        if (
            all(given.get(name, value) == value for name, value in usual.items())
            and len(shape) == 4
            and shape[2] == shape[3]
            and shape[2] in _KERNELS
            # An unknown size is 0.
            and len(source) == len(target) == 4
            and all((*source[1:], *target[1:]))
        ):
            top, left = given.get('pads', [0] * 4)[:2]
            yield _Convolution(
                node,
                shape,
                (top, left),
                (source[2], source[3]),
                (target[2], target[3]),
            )


class _Tiled:
    """The nodes that replace one convolution.

    The input transform of all tiles is one strided convolution: its 36 kernels are the outer
    products of two rows of B', and its stride is the step between tiles. A batched matrix product
    multiplies the transformed weights with the transformed tiles, ``(M, C)`` times ``(C, tiles)``
    for each of the 36 positions. Another matrix product is the output transform.

    Attributes:
        nodes: In order.
    """

    def __init__(self, convolution: _Convolution, constants: Any) -> None:
        """Make the nodes.

        Args:
            convolution: The convolution to replace.
            constants: Initializers of the graph; new ones are appended.
        """
        self.nodes: list[onnx.NodeProto] = []
        self._one, self._constants = convolution, constants
        self._name = f'{convolution.node.output[0]}_tiled'
        outputs, channels, kernel, _ = convolution.shape
        of_output, of_kernel, of_input = _transforms(kernel)
        kernels = np.einsum('ai,bj->abij', of_input, of_input).reshape(-1, 1, 1, _TILE, _TILE)
        self._input_kernels = self._constant('input_kernels', kernels)
        # The runtime computes this once, at loading: transformed weights are four times as large.
        flat = self._reshape(convolution.node.input[1], (outputs * channels, kernel**2))
        transform = self._constant('kernel_transform', np.kron(of_kernel, of_kernel))
        weights = self._add('MatMul', [transform, self._add('Transpose', [flat], perm=[1, 0])])
        self._weights = self._reshape(weights, (-1, outputs, channels))
        self._of_output = self._constant('output_transform', np.kron(of_output, of_output))
        rows, columns = convolution.tiles
        at_once = max(1, _PRODUCTS // (4 * _TILE**2 * outputs * columns))
        strips = [
            self._strip(first, min(at_once, rows - first)) for first in range(0, rows, at_once)
        ]
        whole = strips[0] if len(strips) == 1 else self._add('Concat', strips, axis=2)
        if (rows * convolution.step, columns * convolution.step) != convolution.target:
            ends = self._integers(convolution.target)
            zeros, axes = self._integers((0, 0)), self._integers((2, 3))
            whole = self._add('Slice', [whole, zeros, ends, axes])
        if bias := convolution.node.input[2:]:
            self._add('Add', [whole, self._reshape(bias[0], (1, outputs, 1, 1))])
        self.nodes[-1].output[0] = convolution.node.output[0]

    def _strip(self, first: int, count: int) -> str:
        """Compute rows of tiles; returns the name of their output.

        Args:
            first: First row of tiles.
            count: Number of rows.
        """
        outputs, channels, kernel, _ = self._one.shape
        step, (height, width), (top, left) = self._one.step, self._one.source, self._one.pads
        columns = self._one.tiles[1]
        # Rows of the source that these tiles cover; some may lie outside of it.
        begin, end = first * step - top, (first + count) * step + kernel - 1 - top
        inside = max(begin, 0), min(end, height)
        source = self._one.node.input[0]
        if inside != (0, height):
            from_, to, axis = (self._integers((value,)) for value in (*inside, 2))
            source = self._add('Slice', [source, from_, to, axis])
        right = columns * step + kernel - 1 - left - width
        # One more axis, so that one kernel serves all channels.
        source = self._reshape(source, (-1, 1, channels, inside[1] - inside[0], width))
        tiles = self._add(
            'Conv',
            [source, self._input_kernels],
            kernel_shape=[1, _TILE, _TILE],
            strides=[1, step, step],
            pads=[0, inside[0] - begin, left, 0, end - inside[1], right],
        )
        tiles = self._reshape(tiles, (-1, _TILE**2, channels, count * columns))
        products = self._add('MatMul', [self._weights, tiles])
        products = self._reshape(products, (-1, _TILE**2, outputs * count * columns))
        images = self._add('MatMul', [self._of_output, products])
        images = self._reshape(images, (-1, step**2 * outputs, count, columns))
        return self._add('DepthToSpace', [images], blocksize=step, mode='DCR')

    def _reshape(self, name: str, shape: Sequence[int]) -> str:
        return self._add('Reshape', [name, self._integers(shape)])

    def _add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f'{self._name}_{len(self.nodes)}'
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def _integers(self, values: Sequence[int]) -> str:
        name = f'{self._name}_shape{len(self._constants)}'
        self._constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def _constant(self, name: str, values: npt.NDArray[Any]) -> str:
        name = f'{self._name}_{name}'
        self._constants.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name


def _transforms(kernel: int) -> tuple[npt.NDArray[np.float64], ...]:
    """The matrices A', G and B' of ``y = A'((G g) * (B' d))``, for one dimension.

    They come from Toom-Cook multiplication: a product of two polynomials is determined by its
    values at as many points as it has coefficients, and a convolution is the transpose of that.

    Returns:
        float64 ``(step, 6)``, ``(6, kernel)`` and ``(6, 6)``.
    """
    step = _TILE - kernel + 1
    of_output, of_kernel = np.zeros((step, _TILE)), np.zeros((_TILE, kernel))
    of_input = np.zeros((_TILE, _TILE))
    for number, point in enumerate(_POINTS):
        others = np.delete(_POINTS, number)
        of_output[:, number] = point ** np.arange(step)
        of_kernel[number] = point ** np.arange(kernel) / np.prod(point - others)
        of_input[number, :-1] = np.poly(others)[::-1]
    of_output[-1, -1] = of_kernel[-1, -1] = 1
    of_input[-1] = np.poly(_POINTS)[::-1]
    return of_output, of_kernel, of_input
