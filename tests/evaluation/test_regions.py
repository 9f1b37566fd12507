"""Where true regions come from, which model's row they join, and what does not fit."""

import numpy as np
import pytest

from fastaed.config import EvaluateSettings
from fastaed.data.store import write_frames
from fastaed.errors import DataError
from fastaed.evaluation.regions import region_rows
from fastaed.evaluation.truth import GroundTruth, read_footage, read_truth
from fastaed.metrics.bootstrap import clip_weights

EVENT, CALM = np.zeros((4, 8, 8), np.uint8), np.zeros((2, 8, 8), np.uint8)
EVENT[1:3, :4, :4] = 1  # one region of 4x4 pixels in two frames


@pytest.fixture
def case(tmp_path):
    """Masks of two clips, the second calm; perfect maps of 2x2 cells and a box in each abnormal frame."""
    for folder in ("labels", "maps"):
        (tmp_path / folder).mkdir()
    for clip, masks in (("01", EVENT), ("02", CALM)):
        np.save(tmp_path / "labels" / f"{clip}.npy", masks)
        np.save(tmp_path / "maps" / f"{clip}.npy", masks[:, ::4, ::4].astype(float))
    (tmp_path / "boxes.csv").write_text("clip,frame,x1,y1,x2,y2,score\n1,1,0,0,4,4,.9\n1,3,4,4,8,8,.5\n")
    return tmp_path


def rows(folder, scales=("16x16",), tracks=(), settings=None, stores=(), **sources):
    settings = settings or EvaluateSettings()
    paths = {path.stem: path for path in sorted((folder / "labels").iterdir())}
    ground_truth = GroundTruth("toy", "folder", paths, dict(tracks))
    truth = read_truth(ground_truth)
    models = {"mine": {clip: dict.fromkeys(scales, np.zeros(n)) for clip, n in truth.frames.items()}}
    found = {"maps": {}, "detections": {}, **{kind: {"mine": [path]} for kind, path in sources.items()}}
    footage = read_footage(stores, truth, settings)
    weights = clip_weights(len(truth.clips), 200, 0)
    return region_rows(
        found["maps"], found["detections"], ground_truth, models, truth, footage, weights, settings
    )


def test_perfect_maps_find_all_and_intervals_leave_out_resamples_of_calm_clips(case):
    row = rows(case, maps=case / "maps")["mine"]
    assert row == {
        "scale": "16x16",
        **{f"{metric}{end}": 1.0 for metric in ("rbdc", "tbdc") for end in ("", "_low", "_high")},
    }


def test_boxes_are_measured_on_paper(case):
    """1 of 2 regions and the one track from .9 on, 1 false positive in 6 frames from .5 on: both flat."""
    row = rows(case, detections=case / "boxes.csv")["mine"]
    assert (row["rbdc"], row["tbdc"]) == (0.5, 1.0)


def test_maps_go_before_boxes(case):
    both = rows(case, maps=case / "maps", detections=case / "boxes.csv")
    assert both["mine"]["rbdc"] == 1.0


@pytest.mark.parametrize(
    ("scales", "expected"), [(("1x1", "16x16", "mean"), "16x16"), (("score", "other"), "score")]
)
def test_the_row_is_that_of_16x16_or_else_the_first(case, scales, expected):
    assert rows(case, scales=scales, maps=case / "maps")["mine"]["scale"] == expected


def test_tracks_go_before_masks(case):
    """Three regions where the maps are 0, which raise 2 false positives in 6 frames.

    At threshold 0 each frame is one region, the whole picture: an IoU of 1/4 finds all three, and the other 3
    frames are false. So the rate is 0 up to FPR 1/3 and rises to 1 at 1/2: an area of 1/6 / 2 + 1/2.
    """
    track = case / "01.csv"
    track.write_text("".join(f"7,{frame},4,4,8,8\n" for frame in range(3)))
    settings = EvaluateSettings(frame_size=(8, 8))
    row = rows(case, tracks={"01": track}, settings=settings, maps=case / "maps")["mine"]
    assert (row["rbdc"], row["tbdc"]) == pytest.approx((7 / 12, 7 / 12))
    with pytest.raises(DataError, match="nothing tells the size of the picture"):
        rows(case, tracks={"01": track}, maps=case / "maps")


def test_the_overlap_asked_for_is_used(case):
    """The box of 4x4 pixels lies on a region of 16 pixels whose mask grows to 4x8: an IoU of one half."""
    wider = EVENT.copy()
    wider[1:3, :4, :] = 1
    np.save(case / "labels" / "01.npy", wider)
    for overlap, rbdc in ((0.5, 0.5), (0.51, 0.0)):
        settings = EvaluateSettings(region_overlap=overlap)
        assert rows(case, settings=settings, detections=case / "boxes.csv")["mine"]["rbdc"] == rbdc


def test_nothing_is_measured_where_nothing_tells_the_places(case, capsys):
    assert rows(case) == {}
    assert capsys.readouterr().err == ""
    np.save(case / "labels" / "01.npy", EVENT.any(axis=(1, 2)).astype(int))
    assert rows(case, maps=case / "maps") == {}
    assert "neither masks nor a track file tell where the events of clip 01 are" in capsys.readouterr().err


def test_refuses_masks_of_another_size_than_the_picture(case):
    store = case / "01.zarr"
    write_frames(
        store, np.zeros((4, 2, 2, 3), np.uint8), {"clip": "01", "source_height": 8, "source_width": 9}
    )
    with pytest.raises(DataError, match="masks of clip 01 are 8x8 pixels but the picture is 9x8"):
        rows(case, stores=[store], maps=case / "maps")
