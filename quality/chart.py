"""Lines over a common axis, drawn with Pillow."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 480, 240  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 30, 40  # margins
COLOURS = ("#1f5fa8", "#c0501f", "#2f8f4e", "#7a4fa3", "#8a6d1d", "#444444")


def ticks(low: float, high: float, count: int = 4):
    """Numbers from at most `low` to at least `high`, in steps of 1, 2 or 5 times a power of 10."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(k * power for k in (1, 2, 5, 10) if k * power * count >= span * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, max(last, first + 1) + 1)]


def label(value: float) -> str:
    """A number as an axis shows it: 0.05, 1500 as 1.5k, 2000000 as 2M."""
    for factor, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.4g}{suffix}"
    return f"{value:.4g}"


def draw_panel(draw, corner, title: str, lines: dict, x_ticks) -> None:
    """One chart at a corner (x, y). lines: {name: [(x, y)]}."""
    x0, y0 = corner[0] + LEFT, corner[1] + HEIGHT - BOTTOM
    x1, y1 = corner[0] + WIDTH - RIGHT, corner[1] + TOP
    values = [y for points in lines.values() for _, y in points]
    y_ticks = ticks(min(values), max(values))

    def place(x, y):
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return x0 + across * (x1 - x0), y0 + up * (y1 - y0)

    font = ImageFont.load_default()
    draw.text((x0, corner[1] + 8), title, "black", font)
    for tick in y_ticks:
        _, y = place(x_ticks[0], tick)
        draw.line([(x0, y), (x1, y)], "#dddddd")
        draw.text((x0 - 8, y), label(tick), "black", font, anchor="rm")
    for tick in x_ticks:
        x, _ = place(tick, y_ticks[0])
        draw.line([(x, y0), (x, y0 + 4)], "black")
        draw.text((x, y0 + 8), label(tick), "black", font, anchor="ma")
    draw.line([(x0, y1), (x0, y0), (x1, y0)], "black")
    for (name, points), colour in zip(lines.items(), COLOURS):
        path = [place(*point) for point in sorted(points)]
        if len(path) > 1:
            draw.line(path, colour, 2)
        for x, y in path:
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], colour)
        draw.text((path[0][0] + 8, path[0][1] - 4), name, colour, font, anchor="ls")


def chart(panels: dict, x_title: str):
    """panels: {title: {name of a line: [(x, y)]}} -> uint8 (H, W, 3), two panels in a row."""
    every_x = [x for lines in panels.values() for points in lines.values() for x, _ in points]
    x_ticks = ticks(0, max(every_x))
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    image = Image.new("RGB", (WIDTH * columns, HEIGHT * rows + 20), "white")
    draw = ImageDraw.Draw(image)
    for i, (title, lines) in enumerate(panels.items()):
        corner = (i % columns * WIDTH, i // columns * HEIGHT)
        draw_panel(draw, corner, title, lines, x_ticks)
    place = (image.width / 2, image.height - 16)
    draw.text(place, x_title, "black", ImageFont.load_default(), anchor="ma")
    return np.asarray(image)
