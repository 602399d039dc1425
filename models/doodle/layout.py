"""Where the things of a scene stand: at most four places, drawn one after the other, in a square from 0 to 1, y down."""

from dataclasses import dataclass

from grammar import MOST

# Sides of a thing by how many share the picture, as shares of it: least and most.
SIDES = {1: (0.48, 0.74), 2: (0.34, 0.46), 3: (0.28, 0.38), 4: (0.26, 0.36)}
ALONE = {"small": (0.26, 0.38), "big": (0.78, 0.94)}
# How sizes scale a thing among others.
SCALES = {"small": 0.66, "big": 1.25, None: 1.0}


@dataclass
class Place:
    """Centre and side of a drawing's square, shares of the picture; `group` says whose it is."""

    group: int
    x: float
    y: float
    side: float


def snapped(place, cells):
    """The place moved and resized so that its corners lie on a grid of `cells` cells a side: the same few pictures of each thing."""
    side = max(round(place.side * cells), 2) / cells
    x, y = (round((centre - side / 2) * cells) / cells + side / 2 for centre in (place.x, place.y))
    return Place(place.group, x, y, side)


def places(scene, heights, random):
    """The places of a scene's things in the order of drawing. `heights` has, for each group, its drawing's share of its square."""
    total = sum(group.count for group in scene.groups)
    if total > MOST:
        raise ValueError(f"a scene holds at most {MOST} things, not {total}")
    if scene.relation == "on":
        return on(scene, heights, random)
    if scene.relation == "front":
        return front(scene, random)
    if scene.relation in ("left", "next", "above"):
        return apart(scene, total, random)
    slots = spread(total, random)
    owners = [index for index, group in enumerate(scene.groups) for _ in range(group.count)]
    low, high = SIDES[total]
    side = random.uniform(low, high)
    if total == 1:
        low, high = ALONE.get(scene.groups[0].size, SIDES[1])
        side = random.uniform(low, high)
        room = (1 - side) / 2
        return [Place(0, 0.5 + random.uniform(-room, room) * 0.7, 0.5 + random.uniform(-room, room) * 0.7, side)]
    return [placed(scene, owner, x, y, side, random) for owner, (x, y) in zip(owners, slots)]


def placed(scene, owner, x, y, side, random):
    side *= SCALES[scene.groups[owner].size] * random.uniform(0.94, 1.06)
    x, y = (min(max(value + random.uniform(-0.03, 0.03), side * 0.46), 1 - side * 0.46) for value in (x, y))
    return Place(owner, x, y, side)


def spread(total, random):
    """Centres for `total` things that do not overlap."""
    lean = random.uniform(-0.16, 0.16)
    rows = {
        2: [[(0.27, 0.5 + lean), (0.73, 0.5 - lean)], [(0.5 + lean, 0.27), (0.5 - lean, 0.73)]],
        3: [[(0.19, 0.5 + lean), (0.5, 0.5), (0.81, 0.5 - lean)], [(0.5, 0.27), (0.25, 0.72), (0.75, 0.72)],
            [(0.25, 0.28), (0.75, 0.28), (0.5, 0.73)]],
        4: [[(0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)], [(0.5, 0.2), (0.2, 0.5), (0.8, 0.5), (0.5, 0.8)]],
    }
    return random.choice(rows.get(total, [[(0.5, 0.5)]]))


def apart(scene, total, random):
    """The first group on one side, the second on the other: left and right, or above and below."""
    flat = scene.relation != "above"
    low, high = SIDES[max(total, 2)]
    side = random.uniform(low, high)
    lean, found = random.uniform(-0.14, 0.14), []
    gap = random.uniform(0.21, 0.27)
    # Next to each other, either may stand left.
    order = random.choice((1, -1)) if scene.relation == "next" else 1
    for owner, group in enumerate(scene.groups):
        along = 0.5 + (gap if owner else -gap) * order
        for index in range(group.count):
            across = 0.5 + (lean if owner else -lean) if group.count == 1 else 0.27 + 0.46 * index
            x, y = (along, across) if flat else (across, along)
            found.append(placed(scene, owner, x, y, side, random))
    return found


def on(scene, heights, random):
    """The first thing stands on the second: its foot a little below the other's top."""
    under = random.uniform(0.42, 0.54) * min(SCALES[scene.groups[1].size], 1.1)
    upper = random.uniform(0.32, 0.42) * SCALES[scene.groups[0].size]
    x, y = random.uniform(0.42, 0.58), 0.97 - under * heights[1] / 2
    top = y - under * heights[1] / 2
    foot = top + random.uniform(0.02, 0.08) * under
    return [Place(1, x, y, under), Place(0, x + random.uniform(-0.07, 0.07), foot - upper * heights[0] / 2, upper)]


def front(scene, random):
    """The first thing covers a part of the second, lower and beside its middle."""
    behind = random.uniform(0.56, 0.7) * min(SCALES[scene.groups[1].size], 1.1)
    before = random.uniform(0.34, 0.44) * SCALES[scene.groups[0].size]
    x, y = random.uniform(0.42, 0.58), random.uniform(0.38, 0.42)
    away = random.choice((-1, 1)) * random.uniform(0.08, 0.2)
    return [Place(1, x, y, behind), Place(0, x + away, min(y + behind * 0.36, 0.97 - before / 2), before)]
