"""Anomaly scores of a video by an exported student, with numpy, opencv and onnxruntime alone.

python score_onnx.py student.onnx video.mp4 > scores.csv     # student.onnx: `fastaed export --help`
"""

import itertools
import json
import sys
from collections import deque

import cv2
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = json.loads(session.get_modelmeta().custom_metadata_map["fastaed"])
gap, sigma, size = facts["gap_frames"], facts["smoothing"]["sigma_frames"], (facts["width"], facts["height"])


def frames():
    video = cv2.VideoCapture(sys.argv[2])
    while (read := video.read())[0]:
        shrinks = size[0] <= read[1].shape[1] and size[1] <= read[1].shape[0]
        resized = cv2.resize(read[1], size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        yield cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)


print("frame,score,smoothed")
numbers, window = itertools.count(), deque(maxlen=2 * gap + 1)
past = deque(maxlen=int(np.ceil(4 * sigma)) + 1)
for frame in itertools.chain(frames(), [None] * gap):
    window.append(frame)  # t + gap; None behind the end
    if len(window) <= gap or (now := window[-1 - gap]) is None:
        continue
    before, after = window[0] if len(window) == 2 * gap + 1 else now, now if frame is None else frame
    clip = np.concatenate([now, before, after], axis=-1).transpose(2, 0, 1)[None]
    maps = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(clip)})
    past.append(np.mean([level.max() for level in maps]))
    weights = np.exp(-0.5 * (np.arange(len(past))[::-1] / sigma) ** 2)
    print(f"{next(numbers)},{past[-1]:.6f},{weights @ np.array(past) / weights.sum():.6f}")
