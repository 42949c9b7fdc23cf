"""How a picture is turned for display, read from an EXIF block: the one entry of the first directory, nothing else.

A directory may name 65,535 entries that each claim the whole block. Their values are never looked at, so that it costs
nothing what they claim.
"""

from __future__ import annotations

import struct

ORIENTATION_TAG = 0x0112
UPRIGHT = 1
_SHORT = 3
_ENTRY_BYTES = 12
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def read_orientation(exif: memoryview) -> int:
    """EXIF's orientation, 1 to 8 where it makes sense; 1 where the block is broken or has none.

    Args:
        exif: the block from its TIFF header on.
    """
    order = _BYTE_ORDERS.get(bytes(exif[:4]))
    if order is None:
        return UPRIGHT
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, directory)
        for number in range(entries):
            at = directory + 2 + number * _ENTRY_BYTES
            tag, kind, count, value = struct.unpack_from(f"{order}HHIH", exif, at)
            if tag == ORIENTATION_TAG:
                return int(value) if (kind, count) == (_SHORT, 1) else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT
