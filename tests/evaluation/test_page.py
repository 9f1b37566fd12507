"""The page is read back as a browser would: it needs nothing else, is well formed, says what tables say."""

import base64
import dataclasses
import re
from collections import Counter
from html.parser import HTMLParser

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastaed.errors import DataError
from fastaed.evaluation import page as page_module
from fastaed.evaluation.page import DASH, MOST_CLIPS, Page, Thumbnail, write_page
from fastaed.metrics.auc import auc

VOID = {"meta", "img", "br", "wbr", "link", "input", "hr"}
FRAMES = 60
HOSTILE = "<b>\"&'</table>"


class Read(HTMLParser):
    """Elements in order with their attributes and the text inside, and whether every tag closes its own."""

    def __init__(self, html):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, "text": "", **dict(attributes)}
        self.elements.append(element)
        if tag in ("td", "th", "small"):
            self.handle_data(" ")
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.elements.append({"tag": tag, "text": "", **dict(attributes)})

    def handle_endtag(self, tag):
        assert self._open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self._open:
            element["text"] += data

    def all(self, tag, **attributes):
        return [
            one
            for one in self.elements
            if one["tag"] == tag
            and all(one.get(name.rstrip("_")) == value for name, value in attributes.items())
        ]

    def texts(self, tag):
        return [" ".join(one["text"].split()) for one in self.all(tag)]


def make_labels(clips):
    """Clip k is abnormal in frames 20 to 39; the last clip is wholly normal."""
    labels = {clip: np.zeros(FRAMES, np.uint8) for clip in clips}
    for clip in list(clips)[:-1]:
        labels[clip][20:40] = 1
    return labels


def make_table(headline="student", scale="mean"):
    rows = []
    for model, scales in ((headline, ("1x1", scale)), ("teacher:baf", ("1x1", scale))):
        for name in scales:
            for number, smoothing in enumerate(("raw", "centred", "causal")):
                value = (0.9 if model == headline else 0.8) + number / 100 - (name == "1x1") / 10
                rows.append((model, name, smoothing, value, value + 0.02, value - 0.05, value + 0.03))
    for model, value in (("constant", 0.5), ("ramp", 0.75), ("random", 0.52)):
        for smoothing in ("raw", "centred", "causal"):
            rows.append((f"baseline:{model}", "none", smoothing, value, np.nan, value - 0.01, value + 0.01))
    columns = ["model", "scale", "smoothing", "micro_auc", "macro_auc", "micro_auc_low", "micro_auc_high"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(
        dataset="toy", macro_clips=2, clips=3, frames=1234, label_version="toy:official", rbdc=np.nan
    )


def make_page(clips=("01", "02", "03"), headline="student", scale="mean"):
    labels = make_labels(clips)
    rng = np.random.default_rng(0)
    scores = {
        model: {clip: rng.random(FRAMES) + weight * labels[clip] for clip in clips}
        for model, weight in ((headline, 1.0), ("teacher:baf", 0.5), ("baseline:random", 0.0))
    }
    spot = np.zeros((4, 4), np.float32)
    spot[0, 0] = 0.5
    picture = np.full((90, 160, 3), 128, np.uint8)
    aucs = [auc(scores[headline][clip], labels[clip]) for clip in clips]
    return Page(
        dataset="toy",
        protocol={"label version": "toy:official", "resamples": "2000 of clips"},
        table=make_table(headline, scale),
        kinds=pd.DataFrame(
            [(headline, scale, "centred", "look", 0.612, 40)],
            columns=["model", "scale", "smoothing", "kind", "micro_auc", "kind_frames"],
        ),
        comparison=pd.DataFrame(
            [(headline, scale, "one-class clips count 1", 0.934, 0.987)],
            columns=["model", "scale", "convention", "micro_auc", "macro_auc"],
        ),
        differences=pd.DataFrame(
            [
                (headline, "theirs", "micro_auc", 0.034, -0.012, 0.08),
                (headline, "theirs", "rbdc", *[np.nan] * 3),
            ],
            columns=["model", "against", "metric", "difference", "low", "high"],
        ),
        clips=pd.DataFrame(
            {
                "model": headline,
                "clip": clips,
                "frames": FRAMES,
                "auc": np.array(aucs, float),
                "events_hit": 1,
            }
        ),
        warnings=["many scores tie", "labels may be misaligned"],
        headline=headline,
        scores=scores,
        labels=labels,
        misses=[Thumbnail("01", 21, 0.1234, picture, spot), Thumbnail("02", 22, 0.2, None, None)],
        false_alarms=[Thumbnail("03", 5, 0.97, picture, None)],
    )


def read(page, folder):
    write_page(folder / "report.html", page)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    return read(make_page(), tmp_path_factory.mktemp("page"))


def test_needs_nothing_outside_itself(html):
    found = Read(html)
    links = [one[name] for one in found.elements for name in ("src", "href", "xlink:href") if name in one]
    assert links
    assert all(link.startswith(("#", "data:image/")) for link in links)
    assert "http" not in html
    assert "@import" not in html
    assert not found.all("script")
    assert not found.all("link")


def test_every_reference_has_its_only_target(html):
    found = Read(html)
    names = Counter(one["id"] for one in found.elements if "id" in one)
    assert max(names.values()) == 1
    wanted = set(re.findall(r'(?:href="#|url\(#)([^")]+)', html))
    assert wanted
    assert wanted <= set(names)


def test_pictures_and_curves_say_what_they_show(html):
    found = Read(html)
    assert found.all("img")
    assert all(one["alt"].strip() for one in found.all("img"))
    assert all(one.get("aria-hidden") or one.get("aria-label") for one in found.all("svg"))
    assert found.all("html", lang="en")
    assert len(found.all("h1")) == 1
    headings = found.texts("h2")
    order = ("2 warnings", "Intervals", "Curves", "Scores over time", "Worst misses", "Worst false alarms")
    places = [headings.index(heading) for heading in order]
    assert places == sorted(places)
    assert headings[-2:] == ["Conventions found in papers – not comparable with the table above", "Protocol"]


def test_the_three_smoothings_stand_side_by_side_with_intervals_and_the_best_baseline(html):
    cells = Read(html).texts("td")
    micro = [cells.index(text) for text in cells if text.endswith("baseline ramp 75.0")]
    assert [cells[place].split()[0][:4] for place in micro] == ["90.0", "91.0", "92.0"]
    assert "85.0 to 93.0" in cells[micro[0]]
    assert micro == list(range(micro[0], micro[0] + 3))


def test_bars_lie_where_the_numbers_say(html):
    """The axis runs from 40 %, the tens below the lowest interval, to 100 %."""
    bars = Read(html).all("circle")
    micro = [round(float(bar["cx"].rstrip("%")), 1) for bar in bars]
    assert micro[:5] == [
        pytest.approx(100 * (value - 0.4) / 0.6, abs=0.06) for value in (0.91, 0.81, 0.5, 0.75, 0.52)
    ]
    ranges = Read(html).all("line", class_="range")
    assert float(ranges[0]["x1"].rstrip("%")) == pytest.approx(100 * (0.86 - 0.4) / 0.6, abs=0.01)
    assert float(ranges[0]["x2"].rstrip("%")) == pytest.approx(100 * (0.94 - 0.4) / 0.6, abs=0.01)
    baselines = Read(html).all("tr", class_="baseline")
    assert sum("ramp" in row["text"] for row in baselines) >= 3  # two forests and the table


def test_regions_and_events_are_shown_where_they_are(html, tmp_path):
    missing = [text for text in Read(html).texts("p") if text.startswith("Not measured")]
    assert len(missing) == 2  # neither regions nor a threshold in this table
    page = make_page()
    table, student = page.table, page.table["model"] == "student"
    place = student & (table["scale"] == "1x1") & (table["smoothing"] == "raw")
    table.loc[place, ["rbdc", "tbdc"]] = [0.4, 0.6]
    table.loc[student, "event_recall"] = 0.75
    table.loc[student, "false_alarms"] = 2.0
    table.loc[student, "threshold"] = 0.5
    found = Read(read(page, tmp_path))
    rows = found.texts("tr")
    assert rows.count("student 40.0 60.0") == 1
    assert [row for row in rows if re.fullmatch(r"student \w+ 75.0 2 0.5", row)] == [
        f"student {smoothing} 75.0 2 0.5" for smoothing in ("raw", "centred", "causal")
    ]
    assert not any(text.startswith("Not measured") for text in found.texts("p"))
    assert any("dashed the threshold" in text for text in found.texts("p"))
    assert not any("dashed the threshold" in text for text in Read(html).texts("p"))


def test_kinds_of_events_are_columns(html):
    rows = Read(html).texts("tr")
    assert rows[rows.index("model look (40 frames)") + 1] == "student 61.2"


def test_all_maps_are_shown_on_one_scale(tmp_path):
    page = make_page()
    high = dataclasses.replace(page.misses[0], map=np.full((4, 4), 0.9, np.float32))
    found = Read(read(dataclasses.replace(page, false_alarms=[high]), tmp_path))
    assert found.texts("p").count("Anomaly map, clear where it is low: 0 0.90") == 2


def test_undefined_is_a_dash(html):
    found = Read(html)
    assert not re.search(r"\b(nan|None|NaN)\b", " ".join(found.texts("body")))
    clip = next(row for row in found.texts("tr") if row.startswith("03 "))
    assert clip.split() == ["03", "60", DASH, "1"]
    ramp = next(row for row in found.texts("tr") if row.startswith("baseline:ramp none raw"))
    assert ramp.split()[:7] == ["baseline:ramp", "none", "raw", "75.0", "74.0", "to", "76.0"]
    assert ramp.split()[7] == DASH
    assert f"theirs +3.4 −1.2 to +8.0 {DASH}" in found.texts("tr")  # micro AUC, RBDC


def test_names_are_text_and_never_markup(tmp_path):
    page = make_page(clips=(HOSTILE, "02", "03"), headline=HOSTILE)
    page = dataclasses.replace(
        page,
        dataset=HOSTILE,
        warnings=[HOSTILE],
        protocol={HOSTILE: HOSTILE},
        misses=[dataclasses.replace(page.misses[0], clip=HOSTILE)],
    )
    found = Read(read(page, tmp_path))
    assert found.texts("h1") == [f"{HOSTILE} on {HOSTILE}"]
    assert found.texts("li")[0] == HOSTILE
    assert any(one["alt"].startswith(f"Frame 21 of clip {HOSTILE}") for one in found.all("img"))
    assert f"{HOSTILE} {HOSTILE}" in found.texts("tr")


def test_the_same_evaluation_gives_the_same_bytes(html, tmp_path):
    assert read(make_page(), tmp_path) == html


def test_of_many_clips_those_of_the_lowest_auc_are_drawn(tmp_path):
    clips = [f"{number:03d}" for number in range(107)]
    page = make_page(clips)
    rng = np.random.default_rng(1)
    student = {clip: rng.random(FRAMES) for clip in clips}
    page = dataclasses.replace(page, scores={**page.scores, "student": student})
    html = read(page, tmp_path)
    aucs = {clip: auc(student[clip], page.labels[clip]) for clip in clips[:-1]}
    lowest = sorted(sorted(aucs, key=aucs.get)[:MOST_CLIPS])
    drawn = [text.split()[0] for text in Read(html).texts("figcaption") if "AUC" in text]
    assert drawn == lowest
    assert f"Shown are {MOST_CLIPS} of 107 clips, those of the lowest AUC." in html
    assert len(html) < 3_000_000
    assert sum(row.split()[0] in clips for row in Read(html).texts("tr") if row) == 107  # all in the table


def test_events_are_shaded_and_clips_of_one_class_say_so(html):
    assert html.count("fill: var(--orange)") == 2  # an event in each clip but the last
    captions = Read(html).texts("figcaption")
    assert "03 all normal" in captions
    assert "All 3 clips." in html


def test_ticks_of_small_scores_are_not_rounded_away(tmp_path):
    page = make_page()
    small = {clip: scores / 1_000 for clip, scores in page.scores["student"].items()}
    page = dataclasses.replace(page, scores={**page.scores, "student": small})
    assert "0.0008" in Read(read(page, tmp_path)).texts("text")


def test_the_map_is_drawn_over_the_grey_frame(html):
    uris = [one["src"] for one in Read(html).all("img")]
    assert len(uris) == 2  # the third frame is not at hand
    over, plain = (
        cv2.imdecode(np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8), cv2.IMREAD_COLOR).astype(
            int
        )
        for uri in uris
    )
    assert over.shape == plain.shape == (180, 320, 3)
    assert abs(plain - 128).max() <= 3
    assert abs(over[120:, 220:] - 128).max() <= 3
    blue, green, red = over[10, 10]
    assert red > blue + 40  # inferno's end is a pale yellow
    assert green > blue
    assert "frame not at hand" in Read(html).texts("div")
    assert "Anomaly map, clear where it is low: 0 0.50" in Read(html).texts("p")


def test_what_is_not_there_is_left_out_or_said(tmp_path):
    page = make_page()
    page = dataclasses.replace(
        page,
        kinds=page.kinds.iloc[:0],
        differences=pd.DataFrame(),
        comparison=page.comparison.iloc[:0],
        warnings=[],
        misses=[],
        false_alarms=[],
        labels={clip: np.zeros(FRAMES, np.uint8) for clip in page.labels},
    )
    found = Read(read(page, tmp_path))
    assert "All frames are of one class: there are no curves." in found.texts("p")
    assert "No misses: there is no abnormal frame to show." in found.texts("p")
    assert not {"By kind of event", "Differences", "ROC"} & set(found.texts("h3"))
    assert not any("warning" in heading for heading in found.texts("h2"))
    assert not found.all("img")


def test_a_model_without_the_usual_scale_is_shown_at_its_first(tmp_path):
    page = make_page(headline="theirs", scale="score")
    page = dataclasses.replace(page, table=page.table[page.table["scale"] != "1x1"])
    assert "scores at scale score." in read(page, tmp_path)
    assert "scores at scale 1x1." in read(make_page(headline="theirs", scale="score"), tmp_path)


def test_a_page_about_a_model_that_was_not_evaluated_is_refused(tmp_path):
    with pytest.raises(DataError, match="nobody has no rows"):
        write_page(tmp_path / "report.html", dataclasses.replace(make_page(), headline="nobody"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("micro_auc", 0.8928, "89.3"),
        ("event_f1", 1.0, "100.0"),
        ("equal_error_rate", 0.0, "0.0"),
        ("rbdc", np.nan, DASH),
        ("frames", 40791, "40,791"),
        ("events_hit", 3.0, "3"),
        ("false_alarms_per_hour", 1234.56, "1,234.6"),
        ("threshold", 0.004321, "0.00432"),
        ("clip", "01", "01"),
        ("threshold", np.inf, "inf"),
        ("delay_frames", None, DASH),
    ],
)
def test_numbers_are_written_with_their_unit(column, value, text):
    assert page_module._text(column, value) == text


@given(st.floats(0, 1), st.floats(0, 1))
def test_positions_keep_the_order_of_values(one, other):
    floor = 0.1 * int(10 * min(one, other, 0.5))
    low, high = (page_module._position(value, floor) for value in sorted((one, other)))
    assert -1e-6 <= low <= high <= 100
