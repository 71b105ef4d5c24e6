# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``model.pth`` of a stranger: plain tensors, or one line that names the file."""

from __future__ import annotations

import io
from typing import Any
import zipfile

import pytest
import torch

from adet_training.tensors import read_tensors

pytestmark = pytest.mark.training


def saved(values: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(values, file, **options)
    return file.getvalue()


def compressed(data: bytes) -> bytes:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    return file.getvalue()


def with_pickle(pickle: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('archive/data.pkl', pickle)
        archive.writestr('archive/version', b'3')
        archive.writestr('archive/byteorder', b'little')
    return file.getvalue()


def windows(count: int, length: int) -> dict[str, torch.Tensor]:
    """Many names for nearly the same bytes."""
    whole = torch.zeros(length + count)
    return {str(number): whole[number : number + length] for number in range(count)}


one = torch.ones(1)
REFUSED = {
    'expanded': (
        saved({'a': one.expand(1 << 17, 1 << 17)}),
        r'claims tensors of \d+ bytes in all',
    ),
    'windows': (saved(windows(50, 5000)), r'claims tensors of \d+ bytes in all, the file has'),
    'integer keys': (saved({1: one}), 'does not hold named tensors'),
    'a list': (saved([one]), 'does not hold named tensors'),
    'a number inside': (saved({'a': 3}), 'does not hold named tensors'),
    'nested': (saved({'a': {'b': one}}), 'does not hold named tensors'),
    'sparse': (saved({'a': torch.eye(3).to_sparse()}), '.*_rebuild_sparse_tensor'),
    'quantised': (
        saved({'a': torch.quantize_per_tensor(one, 0.1, 0, torch.qint8)}),
        '.*_rebuild_qtensor',
    ),
    'meta': (saved({'a': torch.ones(3, device='meta')}), '.*_rebuild_meta'),
    'compressed': (compressed(saved({'a': torch.zeros(100000)})), '.*is compressed'),
    'a byte array': (
        with_pickle(b'\x80\x02cbuiltins\nbytearray\nJ\0\0\0\x40\x85R.'),
        '.*bytearray',
    ),
    'code': (with_pickle(b'\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R.'), "'os system'"),
    'newer pickle': (with_pickle(b'\x80\x04\x8c\x02os\x8c\x06system\x93.'), "'STACK_GLOBAL'"),
    'cut': (saved({'a': one})[:-30], 'BadZipFile'),
    'old format': (
        saved({'a': one}, _use_new_zipfile_serialization=False),
        'BadZipFile',
    ),
    'no file': (b'', 'BadZipFile'),
}


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('case', REFUSED)
def test_what_is_no_plain_tensor_is_refused_in_one_line(case: str) -> None:
    data, reason = REFUSED[case]
    if not reason.startswith(('claims', 'does not')):
        reason = rf'not a file of plain weights \(damaged, or more than tensors: {reason}'
    with pytest.raises(ValueError, match=rf'^{reason}') as caught:
        read_tensors(data)
    assert '\n' not in str(caught.value)


def test_plain_tensors_of_all_kinds_are_read() -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    values = {
        'half': torch.ones(2, dtype=torch.float16),
        'count': torch.tensor(3),
        'mask': torch.tensor([True]),
        'empty': torch.empty(0),
        'transposed': shared.T,
        'parameter': torch.nn.Parameter(torch.ones(2)),
        'tied': shared,
        'tied again': shared,
    }
    read = read_tensors(saved(values))
    assert read.keys() == values.keys()
    for name, tensor in values.items():
        assert torch.equal(read[name], tensor)
        assert read[name].dtype == tensor.dtype
