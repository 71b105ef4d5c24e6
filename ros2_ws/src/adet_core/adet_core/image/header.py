# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What the first bytes of an image file say: its format and its size, before it is decoded.

A decoder believes its file: it allocates what a header asks for. So the formats that adet reads
are recognised here, and whatever else a library could decode is refused.
"""

from __future__ import annotations

from collections.abc import Callable
import re
import struct
from typing import NamedTuple

_PNG = b'\x89PNG\r\n\x1a\n'
_JPEG = b'\xff\xd8'
_GAP = rb'(?:\s|#[^\r\n]*[\r\n])+'
_NUMBER = _GAP + rb'(\d{1,9})'
_PNM = re.compile(rb'P([1-6])' + 2 * _NUMBER + rb'(?:' + _NUMBER + rb')?')
# In the data of a scan, FF is followed by 0, or by one of the restart markers D0 to D7.
_NEXT_MARKER = re.compile(rb'\xff+[^\x00\xff\xd0-\xd7]')
# SOF0 to SOF15, without DHT, JPG and DAC, which are numbered among them.
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _END = 0xDA, 0xD9
_TIFF_SIZES = {3: 2, 4: 4, 16: 8}


class Header(NamedTuple):
    """What is known of an image file.

    Attributes:
        kind: ``png``, ``jpeg``, ``bmp``, ``tiff``, ``webp`` or ``pnm``.
        pixels: What a decoder allocates: those of the image, or of one of its tiles.
        width: In pixels.
        height: In pixels.
        full_scale: The value of white in a binary PGM or PPM file, or in one of 16 bits; 0 where
            the decoder sees to it.
    """

    kind: str
    width: int
    height: int
    pixels: int
    full_scale: int = 0


def read_header(data: bytes) -> Header | None:
    """The header of an image file; None if it is damaged, cut short, or of another format."""
    parse = next((parse for start, parse in _FORMATS.items() if data.startswith(start)), None)
    try:
        header = parse(data) if parse else None
    except (struct.error, IndexError):
        # It ends in the midst of its header.
        return None
    return header if header and header.width > 0 and header.height > 0 else None


def is_jpeg(data: bytes) -> bool:
    """Whether these are the bytes of a JPEG file."""
    return data.startswith(_JPEG)


def _plain(kind: str, width: int, height: int) -> Header:
    return Header(kind, width, height, width * height)


def _png(data: bytes) -> Header | None:
    """Walk the chunks: a length beyond the end of the file is an order to allocate that much."""
    position = len(_PNG)
    while data[position + 4 : position + 8] != b'IEND':
        (length,) = struct.unpack_from('>I', data, position)
        position += 12 + length
        if position > len(data):
            return None
    if data[12:16] != b'IHDR':
        return None
    return _plain('png', *struct.unpack_from('>II', data, 16))


def _jpeg(data: bytes) -> Header | None:
    """Walk the markers up to the end of the image; what comes after it does not matter.

    Without an end, OpenCV 4.6, as ROS has it, fills the image up with grey.
    """
    header, position = None, 2
    while (found := _NEXT_MARKER.search(data, position)) is not None:
        marker, position = data[found.end() - 1], found.end()
        if marker == _END:
            return header
        (length,) = struct.unpack_from('>H', data, position)
        if marker in _FRAME_HEADERS and header is None:
            height, width = struct.unpack_from('>HH', data, position + 3)
            header = _plain('jpeg', width, height)
        position += length
    return None


def _bmp(data: bytes) -> Header:
    if struct.unpack_from('<I', data, 14) == (12,):
        return _plain('bmp', *struct.unpack_from('<HH', data, 18))
    width, height = struct.unpack_from('<ii', data, 18)
    # A negative height is that of an image whose rows come from the top.
    return _plain('bmp', width, abs(height))


def _tiff(data: bytes) -> Header | None:
    order = '<' if data.startswith(b'II') else '>'
    big = data[2:4] in (b'+\0', b'\0+')
    start, count_format, size = (8, 'Q', 20) if big else (4, 'H', 12)
    (directory,) = struct.unpack_from(order + ('Q' if big else 'I'), data, start)
    (count,) = struct.unpack_from(order + count_format, data, directory)
    first = directory + struct.calcsize(order + count_format)
    found: dict[int, int] = {}
    # Sorted by their numbers, of which there are 65,536.
    for position in range(first, first + min(count, 65_536) * size, size):
        tag, kind = struct.unpack_from(order + 'HH', data, position)
        if tag in (256, 257, 322, 323) and kind in _TIFF_SIZES:
            value = position + (12 if big else 8)
            code = {2: 'H', 4: 'I', 8: 'Q'}[_TIFF_SIZES[kind]]
            (found[tag],) = struct.unpack_from(order + code, data, value)
    width, height = found.get(256, 0), found.get(257, 0)
    return Header(
        'tiff', width, height, max(width * height, found.get(322, 0) * found.get(323, 0))
    )


def _webp(data: bytes) -> Header | None:
    if data[8:12] != b'WEBP':
        return None
    kind = data[12:16]
    if kind == b'VP8X':
        low_width, high_width, low_height, high_height = struct.unpack_from('<HBHB', data, 24)
        return _plain(
            'webp', 1 + low_width + (high_width << 16), 1 + low_height + (high_height << 16)
        )
    if kind == b'VP8L':
        (bits,) = struct.unpack_from('<I', data, 21)
        return _plain('webp', 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    width, height = struct.unpack_from('<HH', data, 26)
    return _plain('webp', width & 0x3FFF, height & 0x3FFF)


def _pnm(data: bytes) -> Header | None:
    match = _PNM.match(data)
    if match is None:
        return None
    kind, width, height = (int(group) for group in match.groups()[:3])
    white = int(match[4] or 0) if kind in {2, 3, 5, 6} else 0
    # OpenCV scales text of 8 bits itself.
    scaled = kind in {5, 6} or white > 255
    return Header('pnm', width, height, width * height, white if scaled else 0)


_FORMATS: dict[bytes | tuple[bytes, ...], Callable[[bytes], Header | None]] = {
    _PNG: _png,
    _JPEG: _jpeg,
    b'BM': _bmp,
    (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'): _tiff,
    b'RIFF': _webp,
    (b'P1', b'P2', b'P3', b'P4', b'P5', b'P6'): _pnm,
}
