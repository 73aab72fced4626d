from __future__ import annotations

from xml.etree import ElementTree

import pytest

from colbert_rag.training.curves import draw_curves

SVG = "{http://www.w3.org/2000/svg}"
LOG = [{"step": 0, "nDCG@10": 0.25}, {"step": 5, "loss": 3.0}, {"step": 10, "loss": 1.0}, {"step": 10, "nDCG@10": 0.75}]


def lines(log, names):
    """The points of each curve, in pixels."""
    root = ElementTree.fromstring(draw_curves(log, names))
    return [
        [tuple(float(part) for part in point.split(",")) for point in line.get("points").split()]
        for line in root.iter(f"{SVG}polyline")
    ]


def test_each_name_with_values_is_one_curve_of_all_its_points():
    loss, quality = lines(LOG, ["loss", "nDCG@10"])
    assert len(loss) == len(quality) == 2
    assert len(lines(LOG[1:3], ["loss", "nDCG@10"])) == 1


def test_points_stand_by_step_and_higher_values_higher():
    [quality] = lines(LOG, ["nDCG@10"])
    [loss] = lines(LOG, ["loss"])
    left, right = quality[0][0], quality[1][0]
    assert loss[0][0] == pytest.approx((left + right) / 2)
    assert quality[1][1] < quality[0][1]
    assert loss[1][1] > loss[0][1]
    assert (loss[0][1], loss[1][1]) == (quality[1][1], quality[0][1])


def test_one_value_and_none_draw_whole_pictures():
    assert len(lines([{"step": 0, "loss": 1.0}], ["loss"])) == 1
    assert lines([], ["loss"]) == []
