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
    "automobile": "car", "oncoming automobile": "car", "sport utility vehicle": "jeep", "delivery truck": "truck",
    "articulated lorry": "lorry", "deciduous tree": "tree", "glowing star": "star", "full moon face": "moon",
    "new moon face": "moon", "full moon": "moon", "crescent moon": "moon", "sun with face": "sun", "horse face": "horse",
    "lady beetle": "ladybird", "front-facing baby chick": "chick", "hatching chick": "chick", "baby chick": "chick",
    "snowman without snow": "snowman", "red heart": "heart", "grinning face": "smiley",
    "smiling face with sunglasses": "smiley with sunglasses", "sleeping face": "sleeping smiley",
    "crying face": "crying smiley", "angry face": "angry smiley", "soccer ball": "football", "american football": "rugby ball",
    "hot beverage": "cup of coffee", "teacup without handle": "cup of tea", "hourglass done": "hourglass",
    "hourglass not done": "hourglass", "sheaf of rice": "rice plant", "ewe": "sheep", "ram": "ram", "bouquet": "bouquet",
    "closed umbrella": "umbrella", "umbrella with rain drops": "umbrella", "umbrella on ground": "beach umbrella",
    "house with garden": "house", "bullet train": "train", "locomotive": "steam train",
    "high-speed train": "train", "small airplane": "aeroplane", "airplane": "aeroplane", "kick scooter": "scooter",
    "motor scooter": "moped", "wrapped gift": "present", "spouting whale": "whale", "flying saucer": "UFO",
    "light bulb": "light bulb", "gem stone": "gem", "person in suit levitating": "", "poultry leg": "chicken leg",
    "doughnut": "doughnut", "bread": "bread", "t-shirt": "shirt", "woman’s hat": "sun hat", "woman’s sandal": "sandal",
    "high-heeled shoe": "high heel", "running shoe": "trainer", "man’s shoe": "shoe", "top hat": "top hat",
    "bactrian camel": "camel", "two-hump camel": "camel", "hear-no-evil monkey": "monkey", "see-no-evil monkey": "monkey",
    "speak-no-evil monkey": "monkey", "paw prints": "paw prints", "cut of meat": "steak", "pot of food": "stew",
    "shallow pan of food": "paella", "cooking": "fried egg", "jack-o-lantern": "pumpkin", "teddy bear": "teddy",
    "television": "television", "mobile phone": "phone", "desktop computer": "computer", "laptop": "laptop",
    "sunflower": "sunflower", "four leaf clover": "clover", "herb": "herb", "night with stars": "", "milky way": "",
    "foggy": "", "sunrise": "", "sunset": "", "cityscape": "", "cityscape at dusk": "", "sunrise over mountains": "",
    "bridge at night": "", "locked with pen": "", "locked with key": "", "unlocked": "", "locked": "padlock",
    "wave": "", "honeybee": "bee", "bug": "caterpillar", "cherries": "pair of cherries", "grapes": "bunch of grapes",
    "blueberries": "blueberry", "beans": "bean", "peanuts": "peanut", "pancakes": "stack of pancakes",
    "french fries": "box of french fries", "chopsticks": "pair of chopsticks", "gloves": "pair of gloves",
    "socks": "pair of socks", "maracas": "pair of maracas", "skis": "pair of skis", "musical notes": "musical note",
    "books": "stack of books", "shopping bags": "shopping bag", "glasses": "pair of glasses", "goggles": "pair of goggles",
    "sunglasses": "pair of sunglasses", "jeans": "pair of jeans", "scissors": "pair of scissors",
    "ballet shoes": "pair of ballet shoes", "nesting dolls": "nesting doll", "magnifying glass tilted left": "magnifying glass",
    "beach with umbrella": "", "admission tickets": "ticket", "piñata": "pinata", "videocassette": "", "water wave": "", "droplet": "drop", "fog": "", "tear-off calendar": "",
}
COLOURED = {"red", "blue", "green", "orange", "yellow", "white", "black", "brown", "purple", "pink", "polar"} - {"polar"}
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
    "foot": "feet", "tooth": "teeth", "wolf": "wolves", "cactus": "cacti", "scarf": "scarves", "calf": "calves",
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
