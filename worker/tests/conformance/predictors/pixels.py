"""PNG files from the standard library alone: what the predictors of these tests give out."""

import pathlib
import random
import struct
import tempfile
import zlib


def png(width: int, height: int, seed: int) -> bytes:
    """A picture of noise; the same seed and size give the same bytes."""
    noise = random.Random(f"{seed} {width} {height}")
    rows = b"".join(b"\0" + noise.randbytes(3 * width) for _ in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def file(data: bytes, ending: str = ".png") -> pathlib.Path:
    """A file with these bytes, which Cog sends as a data URL."""
    with tempfile.NamedTemporaryFile(suffix=ending, delete=False) as out:
        out.write(data)
    return pathlib.Path(out.name)
