"""What trained networks cost to run: numbers in their weights and FLOP a frame, a row a network.

Counted by torch while teachers score a real clip and a student one input: multiplications and additions of
convolutions and of matrix products. What is none of these is not in it: decoding, the detector, optical flow,
distances to neighbours.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from fastaed.data.boxes import detection_tables, read_detections
from fastaed.data.store import FrameStore
from fastaed.data.tubes import ClipObjects
from fastaed.errors import DataError
from fastaed.files import replacing
from fastaed.models.student import INPUT_CHANNELS, restored_student
from fastaed.progress import say
from fastaed.teachers.build import load_teacher
from fastaed.weights import load_weights

_COLUMNS = ("network", "file", "numbers", "objects_per_frame", "gflop_per_object", "gflop_per_frame")


def run(weights: Sequence[Path], store: Path, detections: Path, out: Path) -> None:
    """Write the table.

    Args:
        weights: files of teachers and students.
        store: frame store of the clip that they score, of the student's size.
        detections: its table, or a folder that holds it.
        out: table to write (.csv). `numbers` are all that the file holds: of `density`, its normal objects.

    Raises:
        DataError: nothing was detected in the clip.
        MissingDataError: the clip has no table of detections.
        StoreError: store or table are missing or damaged.
        WeightsError: a file is missing, or holds neither a teacher nor a student.
    """
    table = detection_tables([store.stem], [detections])[store.stem]
    clip = ClipObjects(FrameStore(store), read_detections(table))
    if len(clip.detections) == 0:
        raise DataError(f"{table}: nothing was detected, so there is nothing to count; name another clip")
    with replacing(out) as part, part.open("w", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(_COLUMNS)
        for path in weights:
            lines.writerow(_row(path, clip))
            say(f"bench: counted {path}")


def _row(path: Path, clip: ClipObjects) -> list[str]:
    tensors, facts = load_weights(path)
    numbers = sum(tensor.numel() for tensor in tensors.values())
    frames, objects = len(clip.frames), len(clip.detections)
    if "teacher" not in facts:
        student = restored_student(tensors, facts)
        inputs = torch.zeros(1, INPUT_CHANNELS, clip.frames.height, clip.frames.width)
        return ["student", path.name, str(numbers), "", "", f"{_gflop(lambda: student(inputs)):.3f}"]
    teacher, _ = load_teacher(path, "cpu")
    gflop = _gflop(lambda: teacher.score(clip))
    cells = (objects / frames, gflop / objects, gflop / frames)
    return [facts["teacher"], path.name, str(numbers), *(f"{cell:.3f}" for cell in cells)]


def _gflop(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return float(counter.get_total_flops()) / 1e9
