"""Which things doodle draws and what people call them.

Reads the names, keywords and groups of emojibase-data and gives one `Thing` for each, with its drawings in each set.
Leaves out what a community would regret in a post: weapons, drugs, alcohol, gambling, religion, death, people, flags, signs.
"""

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

# Names of groups and subgroups are those of Unicode's emoji-test.txt (https://unicode.org/Public/emoji/latest/).
GROUPS = {"animals-nature", "food-drink", "travel-places", "activities", "objects"}
WITHOUT = {
    "place-map", "place-religious", "time", "money", "medical", "award-medal", "transport-sign", "book-paper-sign",
}
# Of the groups and subgroups left out, these are welcome.
WELCOME = {
    "robot", "alien", "ghost", "snowman", "watch", "alarm clock", "hourglass done", "red heart", "grinning face",
    "smiling face with sunglasses", "sleeping face", "crying face", "angry face", "trophy", "sports medal", "books",
    "open book", "newspaper", "blue book", "green book", "stethoscope", "test tube", "map",
}
REGRETTED = re.compile(
    r"pistol|gun|dagger|sword|knife|bomb|\baxe|hatchet|coffin|\burn\b|headstone|cigarette|smok|syringe|pill|blood|beer|"
    r"wine|sake|cocktail|champagne|tumbler|clinking|popping|tropical drink|love hotel|wedding|prayer|menorah|\bcross\b|"
    r"flag|skull|bone|poo|razor|chains|slot|dice|die\b|joker|mahjong|\bcards?\b|yen|dollar|euro|pound|money|credit|bikini|"
    r"briefs|swimsuit|shorts|lungs|brain|anatomical|x-ray|trap|bow and arrow|moai|nazar|hamsa|statue|tokyo|red envelope|"
    r"japanese|passport|control|customs|litter|placard|identification|crutch|cane|banknote|chart|ballot|file|clipboard|"
    r"calendar|keycap|fuji|vibration|wireless|antenna|bullseye|hindu|wind chime|pinata|boomerang|probing|firecracker|"
    r"beverage box|mate$|hut|derelict|globe showing|world map|compass|volcano|performing|frame with|yarn|mousetrap|military|"
    r"diya|martial|lipstick|church|toilet|plunger|guide dog|service dog|pig nose|wilted"
)
# Signs, states and parts, which nobody asks a picture of.
NO_THING = re.compile(
    r"gibbous|quarter moon|waxing|waning|new moon$|behind .*cloud|speaker|with slash|with arrow|tray|\bpage|bookmark|ledger|suit$|"
    r"hammer and|landslide|wind face|national park|station|railway|motorway|low battery|ceremony|receiver|departure|arrival|"
    r"with flash|linked|closed book|old key|tilted right|triangular ruler|incoming|e-mail|tam-tam|light rail|metro|oil drum|"
    r"leaf fluttering|^wing|^desert$|^camping|houses|seat|level slider|paw prints|bubbles|sparkles|hot springs|construction$|"
    r"hair pick|link$|building construction|cloud with|game die|softball|cricket game|field hockey|ice hockey|lacrosse|fingerprint|"
    r"rugby football|optical disk|dvd|videocassette|pouring|microbe|dna|oncoming (bus|taxi|police)|mountain cableway|reminder|tennis$"
)
# What people say instead of what Unicode says.
SPOKEN = {
    "admission tickets": "ticket", "airplane": "aeroplane", "american football": "rugby ball", "angry face": "angry smiley",
    "articulated lorry": "lorry", "automobile": "car", "baby chick": "chick", "bactrian camel": "camel",
    "ballet shoes": "pair of ballet shoes", "beans": "bean", "blueberries": "blueberry", "books": "stack of books",
    "bug": "caterpillar", "bullet train": "train", "cherries": "pair of cherries", "chopsticks": "pair of chopsticks",
    "closed umbrella": "umbrella", "cooking": "fried egg", "crescent moon": "moon", "crying face": "crying smiley",
    "cut of meat": "steak", "deciduous tree": "tree", "delivery truck": "truck", "desktop computer": "computer",
    "droplet": "drop", "ewe": "sheep", "flying saucer": "UFO", "four leaf clover": "clover",
    "french fries": "box of french fries", "front-facing baby chick": "chick", "full moon": "moon", "full moon face": "moon",
    "gem stone": "gem", "glasses": "pair of glasses", "gloves": "pair of gloves", "glowing star": "star",
    "goggles": "pair of goggles", "grapes": "bunch of grapes", "grinning face": "smiley", "hatching chick": "chick",
    "hear-no-evil monkey": "monkey", "high-heeled shoe": "high heel", "high-speed train": "train", "honeybee": "bee",
    "horse face": "horse", "hot beverage": "cup of coffee", "hourglass done": "hourglass", "hourglass not done": "hourglass",
    "house with garden": "house", "jack-o-lantern": "pumpkin", "jeans": "pair of jeans", "kick scooter": "scooter",
    "lady beetle": "ladybird", "locked": "padlock", "locomotive": "steam train",
    "magnifying glass tilted left": "magnifying glass", "man's shoe": "shoe", "maracas": "pair of maracas",
    "mobile phone": "phone", "motor scooter": "moped", "musical notes": "musical note", "nesting dolls": "nesting doll",
    "new moon face": "moon", "oncoming automobile": "car", "pancakes": "stack of pancakes", "peanuts": "peanut",
    "piñata": "pinata", "pot of food": "stew", "poultry leg": "chicken leg", "red heart": "heart", "running shoe": "trainer",
    "scissors": "pair of scissors", "see-no-evil monkey": "monkey", "shallow pan of food": "paella",
    "sheaf of rice": "rice plant", "shopping bags": "shopping bag", "skis": "pair of skis",
    "sleeping face": "sleeping smiley", "small airplane": "aeroplane",
    "smiling face with sunglasses": "smiley with sunglasses", "snowman without snow": "snowman", "soccer ball": "football",
    "socks": "pair of socks", "speak-no-evil monkey": "monkey", "sport utility vehicle": "jeep", "spouting whale": "whale",
    "sun with face": "sun", "sunglasses": "pair of sunglasses", "t-shirt": "shirt", "teacup without handle": "cup of tea",
    "teddy bear": "teddy", "two-hump camel": "camel", "umbrella on ground": "beach umbrella",
    "umbrella with rain drops": "umbrella", "woman's hat": "sun hat", "woman's sandal": "sandal", "wrapped gift": "present",
    # These are places or nothing to draw by itself.
    **dict.fromkeys((
        "beach with umbrella", "bridge at night", "cityscape", "cityscape at dusk", "fog", "foggy", "locked with key",
        "locked with pen", "milky way", "night with stars", "person in suit levitating", "sunrise", "sunrise over mountains",
        "sunset", "tear-off calendar", "unlocked", "videocassette", "water wave", "wave",
    ), ""),
}
COLOURED = {"red", "blue", "green", "orange", "yellow", "white", "black", "brown", "purple", "pink"}
# Of emojibase's keywords, those that name the thing alone and not what is done with it or felt about it.
SYNONYMS = set(
    "ape kitten feline stag hippo squirrel pork terrapin tortoise brontosaurus firebird shell conch bumblebee ladybug "
    "grasshopper web slug dandelion buttercup loaf toast burger fries hotdog frankfurter sausage sub burrito donut cookie sprinkles "
    "coffee teacup soda boba boulder log carousel playground van bike cycle yacht jet copter saucer suitcase planet saturn "
    "thunderbolt flame gift soccer jigsaw puzzle plush disco piano sax headphones monitor desktop torch bulb parcel mailbox notepad "
    "trash cogwheel cog ladder couch bath basket cart crayon palette picture eyeglasses tshirt denim sneaker purse rucksack "
    "jewel strat horn camcorder tag maize aubergine nectarine cantaloupe reptile lamb crow kale stack fungi capsicum pasta "
    "pepperoni noodle ramen sled sledge sleigh motorboat motorbike evergreen cone lettuce icecream broom gemstone trophy prize".split()
)
IRREGULAR = {
    "mouse": "mice", "goose": "geese", "ox": "oxen", "leaf": "leaves", "fish": "fish", "sheep": "sheep", "deer": "deer",
    "bison": "bison", "squid": "squid", "shrimp": "shrimp", "person": "people", "loaf": "loaves", "jeans": "jeans",
    "scissors": "scissors", "glasses": "glasses", "bread": "loaves of bread", "moose": "moose", "sunglasses": "sunglasses",
    "foot": "feet", "snowman": "snowmen", "tooth": "teeth", "wolf": "wolves", "cactus": "cacti", "scarf": "scarves", "calf": "calves",
}


@dataclass
class Thing:
    """One thing: its name and synonyms, each as (singular, plural), and the code points of its drawings."""

    name: str
    plural: str
    group: str
    synonyms: list = field(default_factory=list)
    codes: list = field(default_factory=list)


def plural(name):
    """The plural of an English noun phrase whose head comes last or before "of", "with" or "in"."""
    head, joint, rest = re.match(r"(.*?)( of .*| with .*| in .*|$)()", name).groups()
    before, _, last = head.rpartition(" ")
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif re.search(r"(s|x|z|ch|sh)$", last):
        last = last + ("" if last.endswith("s") and not last.endswith(("ss", "us")) else "es")
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    elif re.search(r"[^aeiou]o$", last) and last in {"tomato", "potato", "mango", "buffalo", "volcano"}:
        last = last + "es"
    else:
        last = last + "s"
    return f"{before} {last}".strip() + joint + rest


def spoken(label):
    """What people call what Unicode labels so; empty where it is no thing."""
    label = label.lower().replace("’", "'")
    if label in SPOKEN:
        return SPOKEN[label]
    label = re.sub(r" face$", "", label)
    first, _, rest = label.partition(" ")
    return rest if first in COLOURED and rest else label


def wanted(entry, group, subgroup):
    """Whether an entry of emojibase is a thing that doodle draws."""
    label = entry["label"].lower()
    if label in WELCOME:
        return True
    known = group in GROUPS and subgroup not in WITHOUT and spoken(label) != ""
    return known and not REGRETTED.search(label) and not NO_THING.search(label)


def things(emojibase):
    """All things, by name in the order of Unicode, from the folder of emojibase-data."""
    entries = json.loads((Path(emojibase) / "en/data.json").read_text())
    meta = json.loads((Path(emojibase) / "meta/groups.json").read_text())
    found, keywords, owners = {}, {}, Counter()
    for entry in sorted(entries, key=lambda entry: entry.get("order", 0)):
        if "group" not in entry:
            continue
        group, subgroup = meta["groups"][str(entry["group"])], meta["subgroups"][str(entry["subgroup"])]
        if not wanted(entry, group, subgroup):
            continue
        name = spoken(entry["label"])
        thing = found.setdefault(name, Thing(name, plural(name), group))
        thing.codes.append(entry["hexcode"].lower())
        keywords.setdefault(name, {})[entry["hexcode"]] = entry.get("tags", [])
    for name, tags in keywords.items():
        owners.update({tag for some in tags.values() for tag in some})
    for name, tags in keywords.items():
        for tag in sorted({tag for some in tags.values() for tag in some}):
            if synonym(tag, name) and owners[tag] == 1 and tag not in found:
                found[name].synonyms.append([tag, plural(tag)])
    return list(found.values())


def synonym(tag, name):
    """Whether a keyword may stand for the thing."""
    return tag in SYNONYMS and tag != name


def plain(found):
    """The things as what JSON can hold."""
    return [asdict(thing) for thing in found]
