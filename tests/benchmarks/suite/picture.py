"""The time of a query by the size of the corpus, as an SVG picture with logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from suite.results import Row

__all__ = ["TIME", "TOKENS", "draw_growth"]

TOKENS, TIME = "token vectors", "median ms"
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 360, 64, 24, 24, 48


def draw_growth(path: Path, rows: Sequence[Row]) -> None:
    """Draw the newest rows of ``growth``, and beside them what growth by the square root would be; none give none."""
    rows = [row for row in rows if row.benchmark == "growth"]
    newest = max((row.date for row in rows), default="")
    by_setting: dict[str, dict[str, float | str]] = {}
    for row in rows:
        if row.date == newest:
            by_setting.setdefault(row.setting, {})[row.metric] = row.value
    points = sorted((float(v[TOKENS]), float(v[TIME])) for v in by_setting.values() if {TOKENS, TIME} <= v.keys())
    if len(points) > 1:
        path.write_text(_picture(points), encoding="utf-8")


def _picture(points: Sequence[tuple[float, float]]) -> str:
    (first_tokens, first_ms), (last_tokens, _) = points[0], points[-1]
    root = [(first_tokens, first_ms), (last_tokens, first_ms * math.sqrt(last_tokens / first_tokens))]
    times = [ms for _, ms in (*points, *root)]
    x = _scale(first_tokens, last_tokens, _LEFT, _WIDTH - _RIGHT)
    y = _scale(min(times) * 0.9, max(times) * 1.1, _HEIGHT - _BOTTOM, _TOP)

    def line(places: Sequence[tuple[float, float]], style: str) -> str:
        return f'<polyline points="{" ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in places)}" fill="none" {style}/>'

    marks = [
        f'<circle cx="{x(n):.1f}" cy="{y(ms):.1f}" r="4" fill="#1f5fa8"/>'
        f'<text x="{x(n):.1f}" y="{y(ms) - 10:.1f}" text-anchor="middle">{ms:.1f}</text>'
        f'<text x="{x(n):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{n / 1e6:.3g} M</text>'
        for n, ms in points
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>',
            f'<path d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}" fill="none" stroke="#999"/>',
            f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 8}" text-anchor="middle">token vectors</text>',
            f'<text x="16" y="{_TOP + 8}">ms</text>',
            line(root, 'stroke="#999" stroke-dasharray="6 4"'),
            f'<text x="{_WIDTH - _RIGHT - 4}" y="{y(root[1][1]) + 16:.1f}" text-anchor="end" fill="#666">'
            "growth by the square root</text>",
            line(points, 'stroke="#1f5fa8" stroke-width="2"'),
            *marks,
            "</svg>\n",
        ]
    )


def _scale(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    """From a logarithmic axis to pixels."""
    return lambda value: begin + (end - begin) * math.log(value / low) / math.log(high / low)
