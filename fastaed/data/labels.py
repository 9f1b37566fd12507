"""Ground truth of test clips: which frames are abnormal, and where, from each benchmark's own files."""

import csv
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.io
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError

from fastaed.data.benchmarks import label_paths, natural_key, numbered_images
from fastaed.errors import DataError, MissingDataError

MASK_SUFFIXES = (".bmp", ".png", ".tif", ".tiff")  # no lossy format: it blurs the edge of a mask
# What NumPy raises for a file that is cut off, altered, or holds Python objects, which are never loaded.
_NPY_DAMAGE = (ValueError, OSError, EOFError, KeyError, NotImplementedError, zlib.error, zipfile.BadZipFile)
# What the reader of MATLAB files raises for one that is cut off or altered.
_MAT_DAMAGE = (ValueError, TypeError, LookupError, OSError, EOFError, zlib.error, MatReadError)

Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class FrameLabels:
    """Ground truth of the T frames of a clip.

    Attributes:
        labels: (T,) uint8, 1 abnormal, 0 normal.
        kinds: (T,) kind of event in each frame (empty: none), where the file tells.
    """

    labels: NDArray[np.uint8]
    kinds: list[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)


def read_frame_labels(layout: str, path: Path) -> FrameLabels:
    """The labels of a test clip's frames.

    Args:
        layout: a key of `benchmarks.LAYOUTS`.
        path: what `benchmarks.label_path` found: .mat with volLabel, .npy, .csv or a folder of mask images.

    Raises:
        MissingDataError: there is no such file.
        DataError: it is damaged or holds something else than labels.
    """
    _require(path)
    if path.suffix == ".csv":
        return _csv_labels(path)
    if path.suffix == ".npy":
        return _array_labels(load_array(path), str(path))
    masks = read_masks(layout, path)
    if masks is None:
        raise DataError(f"{path} is no ground truth that can be read (.mat, .npy, .csv or a folder of masks)")
    return FrameLabels(np.asarray(masks.any(axis=(1, 2)), dtype=np.uint8))


def read_all_labels(layout: str, source: Path) -> dict[str, FrameLabels]:
    """The labels of all test clips, in natural order.

    Args:
        layout: a key of `benchmarks.LAYOUTS`.
        source: what `benchmarks.label_paths` takes; or, in any layout, an .npz with (T,) labels or (T, H, W)
            masks of each clip, under the clip's name.

    Raises:
        MissingDataError: there is no ground truth.
        DataError: it is damaged or holds something else than labels.
    """
    if source.suffix != ".npz":
        return {clip: read_frame_labels(layout, path) for clip, path in label_paths(layout, source).items()}
    _require(source)
    arrays = sorted(load_arrays(source).items(), key=lambda item: natural_key(item[0]))
    return {clip: _array_labels(values, f"{source}, clip {clip}") for clip, values in arrays}


def read_masks(layout: str, path: Path) -> Masks | None:
    """(T, H, W) masks of a test clip's abnormal pixels, in pixels of the source; None where there are none.

    Args:
        layout: a key of `benchmarks.LAYOUTS`.
        path: what `benchmarks.label_path` found. ShanghaiTech keeps its masks in `test_pixel_mask` beside it.

    Raises:
        MissingDataError: there is no such file.
        DataError: it is damaged or holds something else than masks.
    """
    _require(path)
    if layout == "shanghaitech":
        path = path.parent.with_name("test_pixel_mask") / path.name
        if not path.is_file():
            return None
    read = _mask_folder if path.is_dir() else _MASK_READERS.get(path.suffix)
    return read(path) if read else None


def load_array(path: Path) -> NDArray[Any]:
    """The array of an .npy file.

    Raises:
        DataError: it is damaged, or holds Python objects.
    """
    values = _load(path)
    if isinstance(values, dict):
        raise DataError(f"{path} is an archive of arrays, not one array; name it .npz")
    return values


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Name -> array of an .npz file.

    Raises:
        DataError: it is damaged, empty, or holds Python objects.
    """
    arrays = _load(path)
    if not isinstance(arrays, dict):
        raise DataError(f"{path} is one array, not an archive of arrays; name it .npy")
    if not arrays:
        raise DataError(f"{path} holds no array; restore it")
    return arrays


def _load(path: Path) -> NDArray[Any] | dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file:
            values: NDArray[Any] | NpzFile = np.load(file, allow_pickle=False)
            return dict(values) if isinstance(values, NpzFile) else values
    except _NPY_DAMAGE as error:
        raise DataError(f"{path} cannot be read as an array ({error}); restore it") from error


def _array_labels(values: NDArray[Any], where: str) -> FrameLabels:
    """(T,) labels, or (T, H, W) masks."""
    if values.ndim == 3:
        return FrameLabels((values != 0).any(axis=(1, 2)).astype(np.uint8))
    return FrameLabels(_zeros_and_ones(values, where))


def _require(path: Path) -> None:
    if not path.exists():
        raise MissingDataError(f"ground truth {path} does not exist")


def _mask_folder(folder: Path) -> Masks:
    """One image a frame, abnormal where any colour is not black."""
    masks = []
    for file in numbered_images(folder, MASK_SUFFIXES):
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise DataError(f"mask {file} cannot be read as an image; restore it")
        masks.append(image != 0 if image.ndim == 2 else (image[..., :3] != 0).any(axis=2))
        if masks[-1].shape != masks[0].shape:
            raise DataError(
                f"mask {file} is {_size(masks[-1])} pixels, the one of the first frame {_size(masks[0])}"
            )
    return np.stack(masks)


def _mat_masks(path: Path) -> Masks:
    """Avenue: `volLabel`, a cell of H x W arrays, one a frame."""
    try:
        cells = scipy.io.loadmat(path, variable_names=["volLabel"]).get("volLabel")
    except NotImplementedError as error:
        raise DataError(
            f"{path} is a MATLAB v7.3 file, which is not read; save it with `save -v7` from MATLAB or Octave"
        ) from error
    except _MAT_DAMAGE as error:
        raise DataError(f"{path} cannot be read as a MATLAB file ({error}); download it again") from error
    if cells is None or cells.dtype != object or cells.size == 0:
        raise DataError(f"{path} holds no cell array 'volLabel' with a mask a frame")
    masks = [np.asarray(cell) for cell in cells.ravel()]
    if any(mask.ndim != 2 or mask.shape != masks[0].shape for mask in masks):
        raise DataError(f"{path}: the masks in 'volLabel' are not all H x W arrays of one size")
    return np.stack([mask != 0 for mask in masks])


def _npy_masks(path: Path) -> Masks | None:
    values = load_array(path)
    return np.asarray(values != 0) if values.ndim == 3 else None


_MASK_READERS: dict[str, Callable[[Path], Masks | None]] = {".mat": _mat_masks, ".npy": _npy_masks}


def _zeros_and_ones(values: NDArray[Any], where: str) -> NDArray[np.uint8]:
    if values.ndim != 1 or len(values) == 0:
        raise DataError(f"{where} holds an array of shape {values.shape}, not (T,) labels or (T, H, W) masks")
    if not np.isin(values, (0, 1)).all():
        raise DataError(f"{where} holds labels other than 0 (normal) and 1 (abnormal)")
    return values.astype(np.uint8)


def _csv_labels(path: Path) -> FrameLabels:
    """Columns `frame` (0, 1, 2 ...), `label` (0 or 1) and, where wanted, `kind`."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error})") from error
    if not {"frame", "label"} <= set(columns):
        raise DataError(f"{path} needs columns 'frame' and 'label' (and may have 'kind'), it has {columns}")
    for number, row in enumerate(rows):
        if row["frame"] != str(number):
            raise DataError(f"{path}, line {number + 2}: frame {row['frame']!r} where {number} is expected")
        if row["label"] not in ("0", "1"):
            raise DataError(f"{path}, line {number + 2}: label {row['label']!r} is neither 0 nor 1")
    labels = np.array([int(row["label"]) for row in rows], dtype=np.uint8)
    kinds = [row["kind"] or "" for row in rows] if "kind" in columns else None
    return FrameLabels(_zeros_and_ones(labels, str(path)), kinds)


def _size(mask: Masks) -> str:
    return f"{mask.shape[1]}x{mask.shape[0]}"
