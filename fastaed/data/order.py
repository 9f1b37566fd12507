"""A random order for training that does not tear the frame stores apart."""

import numpy as np
from numpy.typing import NDArray

from fastaed.data.store import CHUNK_FRAMES


def local_shuffle(
    clip: NDArray[np.int64], frame: NDArray[np.int64], rng: np.random.Generator, window: int = 64
) -> NDArray[np.int64]:
    """A permutation of N items that is random over the data set yet reads each stored chunk about once.

    Chunks (16 frames of one clip) come in random order; items are mixed within windows of `window` chunks, so
    a cache that holds as many never decodes one twice.

    Args:
        clip: (N,) number of the clip of each item.
        frame: (N,) frame number of each item.
        rng: decides the order.
        window: chunks mixed with one another.
    """
    _, chunk = np.unique(np.stack([clip, frame // CHUNK_FRAMES]), axis=1, return_inverse=True)
    chunk = chunk.reshape(-1)
    chunks = int(chunk.max()) + 1 if len(chunk) else 0
    window_of_chunk = rng.permutation(chunks) // window
    return np.lexsort((rng.random(len(chunk)), window_of_chunk[chunk]))
