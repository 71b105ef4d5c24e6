# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Tensors of ``model.pth``, read as if a stranger had written them.

``weights_only`` keeps torch from running code, but not from taking memory: its pickles may name
compressed, sparse or quantised tensors, tensors that repeat one number, and byte arrays of any
length. A bundle holds plain ones, so nothing else is built at all.
"""

from __future__ import annotations

import io
import pickletools
import re
from typing import Any
import zipfile

import torch

from adet_core.bundle.arrays import stored_entries

_RECORDS = 10_000
_PICKLE = 'data.pkl'
_PLAIN = re.compile(
    r'collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch [A-Z]\w+Storage'
)


class _RefusedError(ValueError):
    """The file holds what it should not; says what."""


def read_tensors(data: bytes) -> dict[str, torch.Tensor]:
    """Read named tensors that torch.save wrote.

    Args:
        data: The whole file.

    Returns:
        Dense tensors on the CPU, by name, together no larger than the file.

    Raises:
        ValueError: It is damaged, or holds something else.
    """
    try:
        _check_pickle(data)
        values = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
    except Exception as error:  # noqa: BLE001 - pickle, zip and torch each raise their own
        # Not torch's own text: it advises to switch this very protection off.
        reason = error if isinstance(error, _RefusedError) else type(error).__name__
        msg = f'not a file of plain weights (damaged, or more than tensors: {reason})'
        raise ValueError(msg) from None
    if not isinstance(values, dict) or not all(map(_is_named_tensor, values.items())):
        msg = 'does not hold named tensors'
        raise ValueError(msg)
    _check_sizes(values, len(data))
    return values


def _is_named_tensor(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and torch.is_tensor(item[1])


def _check_pickle(data: bytes) -> None:
    """Look at what the pickle would build, before torch builds it."""
    try:
        entries = stored_entries(io.BytesIO(data), most=_RECORDS)
    except ValueError as error:
        raise _RefusedError(error) from None
    pickles = [one.filename for one in entries if one.filename.lower().endswith(_PICKLE)]
    if len(pickles) != 1:
        raise _RefusedError(f'{len(pickles)} pickles')
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pickle = archive.read(pickles[0])
    for operation, argument, _ in pickletools.genops(pickle):
        name = str(argument) if operation.name == 'GLOBAL' else operation.name
        if operation.name in {'STACK_GLOBAL', 'INST', 'EXT1', 'EXT2', 'EXT4'} or (
            operation.name == 'GLOBAL' and not _PLAIN.fullmatch(name)
        ):
            raise _RefusedError(f'{name!a:.80}')


def _check_sizes(values: dict[str, torch.Tensor], size: int) -> None:
    """A few bytes can stand for a tensor of any shape, and many names for the same bytes."""
    places = {
        (one.data_ptr(), one.numel() * one.element_size(), one.stride()) for one in values.values()
    }
    total = sum(length for _, length, _ in places)
    if total > size:
        msg = f'claims tensors of {total} bytes in all, the file has {size}'
        raise ValueError(msg)
