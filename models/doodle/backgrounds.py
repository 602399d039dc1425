"""The places that things stand in, drawn as SVG: each kind of grammar.PLACES from a random generator, 128 by 128 units."""

SIDE = 128


def stops(*colours):
    """A vertical gradient over the whole picture, from above to below."""
    each = "".join(f'<stop offset="{index / (len(colours) - 1):.3f}" stop-color="{colour}"/>' for index, colour in enumerate(colours))
    return f'<defs><linearGradient id="g" x1="0" y1="0" x2="0" y2="1">{each}</linearGradient></defs><rect width="128" height="128" fill="url(#g)"/>'


def dots(random, count, radius, colour, top=0, bottom=SIDE):
    return "".join(f'<circle cx="{random.uniform(0, SIDE):.1f}" cy="{random.uniform(top, bottom):.1f}" '
                   f'r="{random.uniform(*radius):.2f}" fill="{colour}"/>' for _ in range(count))


def hills(random, y, height, colour, steps=4):
    """Ground with a wavy edge: its mean height `y`, which it leaves by `height` at most."""
    points = [y + random.uniform(-height, height) for _ in range(steps + 1)]
    path = f"M0 {SIDE} L0 {points[0]:.1f}"
    for index in range(steps):
        left, right = index * SIDE / steps, (index + 1) * SIDE / steps
        middle = (left + right) / 2
        path += f" C{middle:.1f} {points[index]:.1f} {middle:.1f} {points[index + 1]:.1f} {right:.1f} {points[index + 1]:.1f}"
    return f'<path d="{path} L{SIDE} {SIDE}Z" fill="{colour}"/>'


def cloud(random, top, bottom, colour="#fff", opacity=0.9):
    x, y, size = random.uniform(0, SIDE), random.uniform(top, bottom), random.uniform(5, 11)
    puffs = ((-1.2, 0.2, 0.8), (0, -0.3, 1.1), (1.2, 0.1, 0.9), (0.2, 0.4, 1.0))
    return "".join(f'<circle cx="{x + dx * size:.1f}" cy="{y + dy * size:.1f}" r="{r * size:.1f}" fill="{colour}" '
                   f'opacity="{opacity}"/>' for dx, dy, r in puffs)


def waves(random, top, colour, rows=4):
    return "".join(
        f'<path d="M{-8 - random.uniform(0, 16):.1f} {y:.1f} ' + "q4 -4 8 0 t8 0 " * 10 + f'" stroke="{colour}" stroke-width="1.4" '
        'fill="none" opacity="0.6"/>' for y in (top + 9 + row * (SIDE - top) / rows for row in range(rows)))


def fir(x, foot, height, colour):
    return f'<path d="M{x - height * 0.3:.1f} {foot:.1f} L{x:.1f} {foot - height:.1f} L{x + height * 0.3:.1f} {foot:.1f}Z" fill="{colour}"/>'


def night(random):
    sky = stops(random.choice(("#0b1033", "#101a4a", "#0a0f2b")), random.choice(("#1d2a6b", "#2a2f78", "#27305e")))
    return sky + dots(random, 45, (0.4, 1.1), "#fff", 0, 105) + hills(random, 112, 6, "#0a1024")


def sea(random):
    top = random.uniform(50, 72)
    water = f'<rect y="{top:.1f}" width="128" height="{SIDE - top:.1f}" fill="{random.choice(("#2a7fc9", "#1f6fb8", "#2f8fd6"))}"/>'
    return stops("#9fd8f7", "#dff3fd") + cloud(random, 10, 35) + water + waves(random, top, "#8fd0f5")


def underwater(random):
    bubbles = "".join(f'<circle cx="{random.uniform(0, SIDE):.1f}" cy="{random.uniform(0, 110):.1f}" r="{random.uniform(1.5, 4):.1f}" '
                      'fill="none" stroke="#c9f2ff" stroke-width="0.9" opacity="0.8"/>' for _ in range(12))
    weeds = "".join(f'<path d="M{x:.1f} 128 q-5 -8 0 -14 t0 -{random.uniform(8, 18):.1f}" stroke="#1e9a6a" stroke-width="3" fill="none"/>'
                    for x in (random.uniform(4, 124) for _ in range(6)))
    return stops("#39b6dd", "#0b5c97") + weeds + hills(random, 120, 3, "#d9c48a") + bubbles


def forest(random):
    far = "".join(fir(random.uniform(0, SIDE), 88, random.uniform(36, 60), "#4f9a6b") for _ in range(16))
    near = "".join(fir(random.uniform(0, SIDE), 100, random.uniform(40, 66), random.choice(("#2c7048", "#266240"))) for _ in range(10))
    return stops("#cfe9d2", "#a9d7ae") + far + near + hills(random, 96, 4, "#5d8f45")


def snow(random):
    firs = "".join(fir(random.uniform(0, SIDE), 84, random.uniform(18, 34), "#7fa3ad") for _ in range(6))
    return stops("#b9d0e2", "#e3edf5") + firs + hills(random, 84, 6, "#fafdff") + dots(random, 50, (0.8, 1.9), "#fff")


def beach(random):
    top = random.uniform(48, 60)
    water = f'<rect y="{top:.1f}" width="128" height="40" fill="#35a7d8"/>'
    return stops("#8fd6fa", "#e2f5ff") + cloud(random, 8, 30) + water + hills(random, top + 28, 4, "#f3dca0")


def desert(random):
    return stops("#fbd98b", "#fdeec4") + hills(random, 76, 10, "#e8b565") + hills(random, 98, 8, "#d99a4a")


def meadow(random):
    ground = hills(random, 74, 7, "#8fcf5a") + hills(random, 94, 6, "#6dbb45")
    return stops("#8ecdf5", "#dcf1fc") + cloud(random, 8, 35) + ground + dots(random, 16, (0.9, 1.6), "#fff4a8", 98, 126)


def sunset(random):
    sun = f'<circle cx="{random.uniform(25, 103):.1f}" cy="{random.uniform(70, 84):.1f}" r="{random.uniform(11, 16):.1f}" fill="#ffe08a"/>'
    return stops("#5b3a8c", "#e0567a", "#ff9a5a", "#ffd08a") + sun + hills(random, 104, 5, "#4a2a55")


def space(random):
    planet = (f'<circle cx="{random.uniform(10, 118):.1f}" cy="{random.uniform(10, 118):.1f}" r="{random.uniform(7, 13):.1f}" '
              f'fill="{random.choice(("#c46a4a", "#7a6ad0", "#4aa0a8", "#c9a35a"))}"/>')
    return stops("#05060f", "#140a2e") + dots(random, 70, (0.3, 1.0), "#fff") + dots(random, 8, (0.8, 1.3), "#ffe7b0") + planet


def city(random):
    houses, x = "", 0.0
    while x < SIDE:
        width, height = random.uniform(12, 22), random.uniform(30, 70)
        houses += f'<rect x="{x:.1f}" y="{104 - height:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{random.choice(("#7d8aa5", "#8f9bb5", "#6d7893"))}"/>'
        houses += "".join(f'<rect x="{x + 3:.1f}" y="{104 - height + 5 + row * 9:.1f}" width="{width - 6:.1f}" height="3" fill="#ffe9a8" '
                          'opacity="0.8"/>' for row in range(int((height - 6) / 9)))
        x += width
    return stops("#a8cdec", "#e6eef7") + houses + '<rect y="104" width="128" height="24" fill="#585d66"/>'


def mountains(random):
    peaks = ""
    for x in (random.uniform(10, 40), random.uniform(50, 80), random.uniform(90, 120)):
        top, half = random.uniform(26, 48), random.uniform(30, 44)
        peaks += f'<path d="M{x - half:.1f} 96 L{x:.1f} {top:.1f} L{x + half:.1f} 96Z" fill="{random.choice(("#7f8fa6", "#6f8098"))}"/>'
        cap = (96 - top) * 0.26
        peaks += f'<path d="M{x - half * 0.26:.1f} {top + cap:.1f} L{x:.1f} {top:.1f} L{x + half * 0.26:.1f} {top + cap:.1f}Z" fill="#fff"/>'
    return stops("#9ccdf0", "#e9f4fb") + peaks + hills(random, 96, 4, "#7db35a")


def rain(random):
    drops = "".join(f'<path d="M{x:.1f} {y:.1f} l-2.5 8" stroke="#5c86ad" stroke-width="1.3"/>'
                    for x, y in ((random.uniform(0, 130), random.uniform(10, 118)) for _ in range(45)))
    clouds = "".join(cloud(random, 2, 14, "#7b8794") for _ in range(5))
    return stops("#94a3b3", "#c2cbd4") + drops + clouds + hills(random, 116, 3, "#6c7a83")


def sky(random):
    return stops("#5fb4f0", "#cfeafc") + "".join(cloud(random, 8, 120) for _ in range(7))


def room(random):
    wall, floor = random.choice((("#f3e2cf", "#b98455"), ("#dfe8ee", "#9a7b5b"), ("#f0dcdc", "#a8795a"), ("#e3ecd8", "#a37f55")))
    x = random.uniform(10, 80)
    window = f'<rect x="{x:.1f}" y="16" width="34" height="34" fill="#bfe4fa" stroke="#fff" stroke-width="3"/>'
    bars = f'<path d="M{x + 17:.1f} 16 v34 M{x:.1f} 33 h34" stroke="#fff" stroke-width="2"/>'
    return f'<rect width="128" height="128" fill="{wall}"/>{window}{bars}<rect y="92" width="128" height="36" fill="{floor}"/>'


DRAWN = {
    "night": night, "sea": sea, "underwater": underwater, "forest": forest, "snow": snow, "beach": beach, "desert": desert,
    "meadow": meadow, "sunset": sunset, "space": space, "city": city, "mountains": mountains, "rain": rain, "sky": sky, "room": room,
}


def svg(kind, random):
    """One picture of a place, as SVG."""
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" width="{SIDE}" height="{SIDE}">{DRAWN[kind](random)}</svg>'
