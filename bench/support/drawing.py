"""Bars as SVG: one panel for each server and load, one bar for each worker."""

from html import escape

PANEL_WIDTH, PANEL_HEIGHT = 210, 70
LEFT, TOP, GAP = 190, 70, 26
# Beside each other on a white and on a black page.
INK, BAR, MOST = "#7a7a7a", "#4878a8", "#c8702a"


def text(x, y, words, size=12, anchor="start", weight="normal"):
    style = f'font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" fill="{INK}"'
    return f'<text x="{x}" y="{y}" {style}>{escape(words)}</text>'


def panel(x, y, counts):
    """The highest bar of a panel is as high as the panel: what is compared is workers, not loads."""
    if not counts:
        return [text(x, y + PANEL_HEIGHT / 2, "not measured")]
    highest = max(counts) or 1
    step = PANEL_WIDTH / len(counts)
    parts = []
    for index, count in enumerate(counts):
        height = PANEL_HEIGHT * count / highest
        left, top = x + index * step, y + PANEL_HEIGHT - height
        colour = MOST if count == highest and min(counts) != highest else BAR
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{step * 0.8:.1f}" height="{height:.1f}" fill="{colour}"/>'
        )
        parts.append(text(f"{left + step * 0.4:.1f}", y + PANEL_HEIGHT + 11, str(count), 9, "middle"))
    return parts


def bars(title, loads, servers, counts):
    """`counts[server, load]` are the numbers of the workers, or nothing."""
    width = LEFT + len(loads) * (PANEL_WIDTH + GAP)
    height = TOP + len(servers) * (PANEL_HEIGHT + GAP + 8)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">',
        text(12, 26, title, 16, weight="bold"),
    ]
    for column, load in enumerate(loads):
        parts.append(text(LEFT + column * (PANEL_WIDTH + GAP), TOP - 14, load, 12, weight="bold"))
    for row, server in enumerate(servers):
        y = TOP + row * (PANEL_HEIGHT + GAP + 8)
        parts.append(text(12, y + PANEL_HEIGHT / 2, server))
        for column, load in enumerate(loads):
            parts += panel(LEFT + column * (PANEL_WIDTH + GAP), y, counts.get((server, load)))
    return "\n".join([*parts, "</svg>"]) + "\n"
