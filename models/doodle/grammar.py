"""Scenes and their captions: what is in a picture, told in the words that people use.

A `Scene` says what is drawn; layout.py says where, compose.py draws it. Some combinations are never in training:
see `held_out`. Everything follows from the `random.Random` given.
"""

from dataclasses import dataclass, field
from zlib import crc32

from colours import NAMES, words

NUMBERS = {1: ("a", "one"), 2: ("two", "2", "a pair of"), 3: ("three", "3"), 4: ("four", "4")}
SIZES = {"small": ("small", "tiny", "little"), "big": ("big", "large", "huge")}
# Each with A for the first group and B for the second; the converse of a relation is another relation's wording.
RELATIONS = {
    "left": ("A to the left of B", "A left of B", "A on the left, B on the right", "B to the right of A", "B right of A"),
    "above": ("A above B", "A over B", "B below A", "B under A", "B beneath A"),
    "on": ("A on B", "A on top of B", "A sitting on B"),
    "front": ("A in front of B", "B behind A"),
    "next": ("A next to B", "A beside B", "A by B", "A and B side by side"),
}
JUDGED = ("left", "above", "on", "front")
STYLES = {
    "flat": ("flat", "flat style", "minimal"),
    "soft 3D": ("soft 3D", "3D", "glossy 3D"),
    "cartoon": ("cartoon", "cartoon style", "shaded"),
}
PLACES = {
    "night": ("at night", "under the stars", "under a night sky"), "sea": ("at sea", "on the sea", "on the ocean", "on the water"),
    "underwater": ("under water", "underwater", "deep in the sea"), "forest": ("in the forest", "in the woods", "in a forest"),
    "snow": ("in the snow", "in winter", "on a snowy day"), "beach": ("on the beach", "at the beach", "on the sand"),
    "desert": ("in the desert", "among dunes"), "meadow": ("in a meadow", "on the grass", "in a field"),
    "sunset": ("at sunset", "at dusk"), "space": ("in space", "in outer space"), "city": ("in the city", "in town"),
    "mountains": ("in the mountains", "before mountains"), "rain": ("in the rain", "on a rainy day"),
    "sky": ("in the sky", "among clouds", "in the clouds"), "room": ("in a room", "indoors"),
}
# What easy scenes keep to: see `Grammar`.
EASY_STYLE = "flat"
MOST = 4
# Out of a hundred combinations, how many are held out: of thing and colour, and of thing, relation and thing.
COLOURED_OUT, RELATED_OUT = 8, 10


@dataclass
class Group:
    """`count` of one thing alike; `colour` and `size` are None where the caption names none."""

    thing: int
    count: int = 1
    colour: str | None = None
    size: str | None = None


@dataclass
class Scene:
    """`place` is one of PLACES, or None with `fill` the colours of a background, from above to below, or () for a pale one."""

    groups: list
    relation: str | None = None
    place: str | None = None
    fill: tuple = ()
    style: str = "flat"
    caption: str = ""
    held_out: list = field(default_factory=list)


def share(*key):
    """A number below 100 that depends on the key alone, on every machine."""
    return crc32("|".join(key).encode()) % 100


def held_out(scene, things):
    """Which combinations of a scene never occur in training, as words; none in a scene to train with."""
    out = [f"{group.colour} {things[group.thing]['name']}" for group in scene.groups
           if group.colour and share("colour", things[group.thing]["name"], group.colour) < COLOURED_OUT]
    if scene.relation:
        first, second = (things[group.thing]["name"] for group in scene.groups)
        if share("relation", first, scene.relation, second) < RELATED_OUT:
            out.append(f"{first} {scene.relation} {second}")
    return out


class Grammar:
    """Draws scenes over `things`, as prepare.py wrote them, and `places`. Easy ones have fewer things at once and one style."""

    def __init__(self, things, easy=False, places=None):
        self.things, self.easy, self.places = things, easy, places or tuple(PLACES)

    def train(self, random):
        """A scene without any combination that is held out."""
        while True:
            scene = self.scene(random)
            if not held_out(scene, self.things):
                return self.told(scene, random)

    def unseen(self, random):
        """A scene with at least one combination that is held out."""
        while True:
            scene = self.scene(random)
            scene.held_out = held_out(scene, self.things)
            if scene.held_out:
                return self.told(scene, random)

    def any(self, random):
        """A scene of any kind, for who learns to see and not to draw."""
        return self.told(self.scene(random), random)

    def scene(self, random):
        # Easy scenes are those of one thing more often, and never those of the last kind.
        kind = random.random() if not self.easy else max(random.uniform(-0.3, 0.84), 0.0)
        if kind < 0.34:
            groups, relation = [self.group(random, 1)], None
        elif kind < 0.52:
            groups, relation = [self.group(random, random.choice((2, 2, 3, 3, 4)))], None
        elif kind < 0.84:
            relation = random.choice(("left", "left", "above", "on", "front", "next"))
            few = (1, 1, 1, 2) if relation in ("left", "above", "next") else (1,)
            groups = [self.group(random, random.choice(few)) for _ in range(2)]
        else:
            counts = random.choice(((1, 1), (1, 1, 1), (2, 1), (1, 2), (1, 1, 2)))
            groups, relation = [self.group(random, count) for count in counts], None
        while len({group.thing for group in groups}) < len(groups):
            groups[-1].thing = random.randrange(len(self.things))
            groups[0].thing = random.randrange(len(self.things))
        place, fill = self.background(random, groups)
        return Scene(groups, relation, place, fill, EASY_STYLE if self.easy else random.choice(tuple(STYLES)))

    def group(self, random, count):
        colour = random.choice(NAMES) if random.random() < 0.5 else None
        size = random.choice(tuple(SIZES)) if random.random() < 0.15 else None
        return Group(random.randrange(len(self.things)), count, colour, size)

    def background(self, random, groups):
        kind = random.random() * (0.75 if self.easy else 1.0)
        free = [name for name in NAMES if name not in {group.colour for group in groups}]
        if kind < 0.35:
            return None, ()
        if kind < 0.5:
            return None, (random.choice(free),)
        if kind < 0.6:
            return None, tuple(random.sample(free, 2))
        return random.choice(self.places), ()

    def told(self, scene, random):
        """The scene with a caption."""
        phrases = [self.phrase(group, random) for group in scene.groups]
        if scene.relation:
            wording = random.choice(RELATIONS[scene.relation])
            text = "".join(phrases["AB".index(part)] if part in ("A", "B") else part for part in split(wording))
        elif len(phrases) == 3:
            text = f"{phrases[0]}, {phrases[1]} and {phrases[2]}"
        else:
            text = random.choice((" and ", " and ", " with ", ", ")).join(phrases)
        text = self.styled(f"{text}{self.where(scene, random)}", scene.style, random)
        if random.random() < 0.1:
            text = " ".join(word for word in text.split() if word not in ("a", "an", "the"))
        scene.caption = text
        return scene

    def phrase(self, group, random):
        """The words for a group, with its article or number."""
        thing = self.things[group.thing]
        forms = (thing["name"], thing["plural"])
        if thing["synonyms"] and random.random() < 0.15:
            forms = random.choice(thing["synonyms"])
        colour = random.choice(words(group.colour)) if group.colour else ""
        size = random.choice(SIZES[group.size]) if group.size else ""
        noun = forms[0] if group.count == 1 else forms[1]
        if colour and random.random() < 0.06:
            noun, colour = f"{noun} that {'is' if group.count == 1 else 'are'} {colour}", ""
        text = " ".join(part for part in (size, colour, noun) if part)
        number = random.choice(NUMBERS[group.count]) if random.random() < 0.3 else NUMBERS[group.count][0]
        if number == "a":
            number = "an" if text[0].lower() in "aeio" else "a"
        return f"{number} {text}"

    def where(self, scene, random):
        if scene.place:
            return " " + random.choice(PLACES[scene.place])
        if len(scene.fill) == 2:
            above, below = (random.choice(words(name)) for name in scene.fill)
            return " " + random.choice((f"on a {above} and {below} gradient", f"on a gradient from {above} to {below}"))
        if scene.fill:
            colour = random.choice(words(scene.fill[0]))
            return " " + random.choice((f"on a {colour} background", f"on {colour}", f"in front of a plain {colour} wall"))
        return ""

    def styled(self, text, style, random):
        if self.easy or random.random() > 0.4:
            return random.choice((text, text, text, f"a picture of {text}", f"a drawing of {text}"))
        word = random.choice(STYLES[style])
        return random.choice((f"{text}, {word}", f"{word} drawing of {text}", f"a {word} picture of {text}"))


def split(wording):
    """The wording of a relation in parts, A and B apart."""
    parts = wording.replace("A", "|A|", 1).replace("B", "|B|", 1).split("|")
    return [part for part in parts if part]
