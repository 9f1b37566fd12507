"""decode_on_card: frames of a video by the card's own decoder, which stay on the card.

For `fastaed score` where a network is on the card and reading cannot keep up with it. Needs torchcodec (the
extra `hardware`) and FFmpeg's libraries. A card turns stored colours into RGB with its own rounding, so that
frames may differ by a level or two from those of `decode`; that is why it is never chosen silently. The only
door to torchcodec.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fastaed import decode
from fastaed.errors import ConfigError, DataError


def open_chunks(source: Path, width: int, height: int, device: torch.device, count: int) -> Iterator[Tensor]:
    """Frames of a video file in time order, `count` at a time.

    Args:
        source: a video file.
        width: of the frames given.
        height: likewise.
        device: of the decoder and the frames; `cpu` decodes by FFmpeg.
        count: frames at a time; the last may be fewer.

    Yields:
        (N, 3, height, width) uint8 RGB on `device`.

    Raises:
        MissingDataError: there is nothing at `source`.
        ConfigError: it is a folder of frames, or torchcodec or its libraries are missing.
        DataError: it cannot be decoded to its end.
    """
    if source.is_dir():
        raise ConfigError(f"{source} is a folder of frames, not a video file; leave out --hardware")
    footage = decode.open_footage(source)  # its checks, and what the file says of itself
    footage.frames.close()
    opened = _decoders().VideoDecoder
    with _decoding(source):
        decoder = opened(str(source), dimension_order="NCHW", device=device)
        total = len(decoder)
    decode.check_count(footage, total)
    for start in range(0, total, count):
        with _decoding(source):
            chunk: Tensor = decoder.get_frames_in_range(start, min(start + count, total)).data
        yield resized(chunk, width, height)


def resized(frames: Tensor, width: int, height: int) -> Tensor:
    """As `decode.resized`: means of areas where both sides shrink, else bilinear.

    Args:
        frames: (N, 3, H, W) uint8.
        width: wanted.
        height: wanted.

    Returns:
        (N, 3, height, width) uint8.
    """
    rows, columns = frames.shape[2:]
    if (rows, columns) == (height, width):
        return frames
    if height <= rows and width <= columns:
        across, down = _areas(columns, width, frames.device), _areas(rows, height, frames.device)
        scaled = down @ (frames.float() @ across.T)
    else:
        scaled = F.interpolate(frames.float(), (height, width), mode="bilinear", align_corners=False)
    return (scaled + 0.5).clamp(0, 255).to(torch.uint8)


@lru_cache(maxsize=8)  # the same for every chunk of a video
def _areas(old: int, new: int, device: torch.device) -> Tensor:
    """(new, old) share of each old pixel in each new one, along one side."""
    edges = torch.arange(new + 1, dtype=torch.float64) * old / new
    pixel = torch.arange(old)
    overlap = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return (overlap.clamp(min=0) * new / old).to(device, torch.float32)


def _decoders() -> Any:
    try:
        from torchcodec import decoders
    except ImportError as error:
        raise ConfigError(
            "torchcodec is not installed; pip install 'fastaed[hardware]', or leave out --hardware"
        ) from error
    except (RuntimeError, OSError) as error:
        raise ConfigError(
            "torchcodec does not load: FFmpeg's libraries are missing, or it was built for another torch; "
            "install them, or leave out --hardware"
        ) from error
    return decoders


@contextmanager
def _decoding(source: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())[:150]
        raise DataError(
            f"video {source} cannot be decoded on the card ({reason}); leave out --hardware"
        ) from error
