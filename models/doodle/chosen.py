"""The things of each configuration, as told by name in things.py, and the places, of grammar.py."""

# What people ask for first.
FIRST = (
    "cat", "dog", "rabbit", "elephant", "frog", "penguin", "fish", "butterfly", "tree", "evergreen tree", "sunflower", "mushroom",
    "apple", "banana", "pizza", "house", "castle", "car", "bicycle", "rocket", "balloon", "star", "snowman", "robot",
)

# What a CPU learns in an hour.
SOME = FIRST + (
    "fox", "lion", "horse", "unicorn", "pig", "bear", "panda", "bird", "owl", "duck", "turtle", "dragon", "whale", "octopus", "crab", "bee",
    "rose", "palm tree", "cactus", "strawberry", "ice cream", "doughnut", "birthday cake", "pumpkin",
    "heart", "ghost", "moon", "sun", "cloud", "rainbow", "umbrella", "crown", "sailboat", "aeroplane", "bus", "steam train",
)

# What most people would name at sight and tell from the others: the fewer things share minutes of training, the better each is drawn.
MANY = tuple(name.strip() for line in """
smiley, ghost, alien, robot, heart, monkey, dog, fox, cat, lion, tiger, horse, unicorn, zebra, cow, pig, sheep, giraffe, elephant
mouse, rabbit, bear, panda, koala, chicken, chick, bird, penguin, duck, owl, flamingo, parrot, frog, crocodile, turtle, snake, dragon
whale, dolphin, fish, shark, octopus, jellyfish, crab, snail, butterfly, bee, ladybird, spider, rose, sunflower, tulip, evergreen tree
tree, palm tree, cactus, maple leaf, mushroom, bunch of grapes, watermelon, lemon, banana, pineapple, apple, pair of cherries
strawberry, avocado, carrot, broccoli, bread, pretzel, cheese wedge, hamburger, pizza, ice cream, doughnut, birthday cake, cupcake
cup of coffee, mountain, house, castle, tent, steam train, bus, car, truck, tractor, bicycle, anchor, sailboat, aeroplane, helicopter
rocket, UFO, hourglass, alarm clock, moon, sun, ringed planet, star, cloud, rainbow, umbrella, snowflake, snowman, fire, pumpkin
christmas tree, balloon, present, trophy, football, basketball, teddy, shirt, pair of sunglasses, backpack, crown, top hat, gem, bell
musical note, guitar, drum, phone, television, camera, candle, light bulb, stack of books, envelope, pencil, key, hammer, door
bed, chair
""".strip().split("\n") for name in line.split(","))

# Places that a CPU learns as well.
FEW = ("night", "sea", "underwater", "snow", "desert", "meadow")
