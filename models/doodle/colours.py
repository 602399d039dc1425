"""The colours that doodle knows: what they are called and what they look like."""

# sRGB from 0 to 1; the first word is the colour's name, the others mean the same.
COLOURS = {
    "red": (0.86, 0.12, 0.14), "orange": (0.97, 0.50, 0.08), "yellow": (0.98, 0.85, 0.15), "green": (0.20, 0.66, 0.24),
    "turquoise": (0.14, 0.74, 0.72), "blue": (0.14, 0.34, 0.90), "purple": (0.50, 0.20, 0.72), "pink": (0.98, 0.50, 0.74),
    "brown": (0.48, 0.29, 0.14), "black": (0.09, 0.09, 0.10), "white": (0.97, 0.97, 0.97), "grey": (0.54, 0.54, 0.55),
}
NAMES = tuple(COLOURS)
WORDS = {"turquoise": ("turquoise", "teal", "cyan"), "purple": ("purple", "violet"), "grey": ("grey", "gray")}
# How the judge calls a thing in the colours that it was drawn in.
NATURAL = len(NAMES)


def words(name):
    """Every word for a colour, its name first."""
    return WORDS.get(name, (name,))
