"""Whether a JPEG is whole, whatever a camera has put behind it."""

from __future__ import annotations

import re

# Ends a scan: a marker that is neither an escaped 0xFF, nor a restart, nor padding.
_MARKER = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')
_START, _END = b'\xff\xd8', b'\xff\xd9'


def jpeg_is_whole(data: bytes) -> bool:
    r"""Look for the end mark of the image itself.

    A thumbnail within the header has one of its own, and a film that a camera appended may hold
    the same bytes by chance: so the segments are followed from the first one on.

    Args:
        data: Content of a file that begins as a JPEG does.

    Example:
        >>> scan = b'\xff\xda\x00\x03..\xff\x00...'
        >>> jpeg_is_whole(b'\xff\xd8' + scan + b'\xff\xd9' + b'a film')
        True
        >>> jpeg_is_whole(b'\xff\xd8' + scan)
        False

    Source: ours, after ITU-T T.81, annex B.
    """
    position = len(_START)
    while position < len(data):
        found = _MARKER.search(data, position)
        if found is None:
            return False
        if found.group() == _END:
            return True
        # The length of a segment counts its own two bytes.
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2], 'big')
    return False
