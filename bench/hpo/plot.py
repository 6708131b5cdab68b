"""A small plot of lines as SVG: a few kilobytes, readable in light and dark."""
from html import escape

# Cusp first and strong; the others from a palette that colour-blind people can tell apart (Okabe and Ito).
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8C6D31", "#7F7F7F", "#9467BD", "#B2DF8A"]
W, H, LEFT, TOP, RIGHT, BOTTOM = 640, 320, 48, 30, 130, 38


def lines(title, across, up, data):
    """data: {name: values in 0..1 at 1, 2, ...}."""
    longest = max(len(v) for v in data.values())

    def at(i, v):
        x = LEFT + (W - LEFT - RIGHT) * i / max(1, longest - 1)
        y = TOP + (H - TOP - BOTTOM) * (1 - v)
        return f"{x:.1f},{y:.1f}"
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {W} {H}" font-family="sans-serif" font-size="11">',
           f'<rect width="{W}" height="{H}" fill="#fff"/>', f'<text x="{LEFT}" y="18" font-size="13">{escape(title)}</text>']
    for k in range(6):
        x0, y = at(0, k / 5).split(",")
        out.append(f'<line x1="{x0}" y1="{y}" x2="{W - RIGHT}" y2="{y}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{k / 5:.1f}</text>')
    for n in range(10, longest + 1, 10):
        x, _ = at(n - 1, 0).split(",")
        out.append(f'<text x="{x}" y="{H - BOTTOM + 15}" text-anchor="middle">{n}</text>')
    out.append(f'<text x="{(W - RIGHT + LEFT) / 2}" y="{H - 6}" text-anchor="middle">{escape(across)}</text>')
    out.append(f'<text transform="translate(12,{H / 2}) rotate(-90)" text-anchor="middle">{escape(up)}</text>')
    names, low = sorted(data, key=lambda n: (n != "cusp", n)), sorted(data, key=lambda n: -data[n][-1])
    for k, name in enumerate(names):
        colour, width = ("#D55E00", 3) if name == "cusp" else (COLOURS[(k - 1) % len(COLOURS)], 1.3)
        points = " ".join(at(i, v) for i, v in enumerate(data[name]))
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        y = TOP + 8 + 16 * low.index(name)
        out.append(f'<line x1="{W - RIGHT + 8}" y1="{y}" x2="{W - RIGHT + 24}" y2="{y}" stroke="{colour}" stroke-width="{width}"/>'
                   f'<text x="{W - RIGHT + 28}" y="{y + 4}">{escape(name)}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"
