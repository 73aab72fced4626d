"""Loss and quality over the steps of a training, as an SVG picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["draw_curves"]

_WIDTH, _HEIGHT, _MARGIN = 640, 200, 48
_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
    '<rect width="100%" height="100%" fill="white"/>'
)


def draw_curves(log: Sequence[Mapping[str, float]], names: Sequence[str]) -> str:
    """Draw one panel below the other for each name that the log has values of.

    Args:
        log: Entries with ``step`` and values by name.
        names: Which are drawn, from the top.

    Returns:
        A whole SVG document.
    """
    series = {name: [(entry["step"], entry[name]) for entry in log if name in entry] for name in names}
    drawn = {name: points for name, points in series.items() if points}
    last_step = max((step for points in drawn.values() for step, _ in points), default=1) or 1
    panels = [
        f'<g transform="translate(0 {position * _HEIGHT})">{_panel(name, points, last_step)}</g>'
        for position, (name, points) in enumerate(drawn.items())
    ]
    head = _HEAD.format(width=_WIDTH, height=max(1, len(drawn)) * _HEIGHT)
    return "\n".join([head, *panels, "</svg>\n"])


def _panel(name: str, points: Sequence[tuple[float, float]], last_step: float) -> str:
    low, high = min(value for _, value in points), max(value for _, value in points)
    span = (high - low) or 1.0
    left, right, top, bottom = _MARGIN + 16, _WIDTH - _MARGIN, 28, _HEIGHT - 36

    def place(step: float, value: float) -> str:
        return f"{left + (right - left) * step / last_step:.1f},{bottom - (bottom - top) * (value - low) / span:.1f}"

    line = " ".join(place(step, value) for step, value in points)
    dots = "".join('<circle cx="{}" cy="{}" r="2.5"/>'.format(*place(*point).split(",")) for point in points)
    return (
        f'<text x="{left}" y="18" font-weight="bold">{name}</text>'
        f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#999"/>'
        f'<text x="{left - 6}" y="{top + 4}" text-anchor="end">{high:.4g}</text>'
        f'<text x="{left - 6}" y="{bottom + 4}" text-anchor="end">{low:.4g}</text>'
        f'<text x="{left}" y="{bottom + 18}">0</text>'
        f'<text x="{right}" y="{bottom + 18}" text-anchor="end">step {last_step:.0f}</text>'
        f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="1.5"/>'
        f'<g fill="#1f5fa8">{dots if len(points) <= 60 else ""}</g>'
    )
