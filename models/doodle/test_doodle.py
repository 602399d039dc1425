"""Checks of doodle's own parts: `python -m unittest discover models/doodle`. Those that need prepared data say so and are skipped."""

import dataclasses
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image

import checkpoint
import colours
import compose
import evaluate
import flow
import encoder_files
import grammar
import muon
import pack
import pool
import things
from compose import Artist, Canvas
from config import CONFIGS
from grammar import Group, Scene
from layout import places
from model import Doodle
from text import Tokens, encoder, words
from together import Together, together

HERE = Path(__file__).parent
PREPARED = HERE / "data/prepared"
THINGS = [{"name": name, "plural": things.plural(name), "synonyms": [], "sprites": {style: [index] for style in grammar.STYLES}}
          for index, name in enumerate(("cat", "dog", "tree", "apple", "bus"))]
prepared = unittest.skipUnless((PREPARED / "drawings.npz").is_file(), "needs what prepare.py writes")


class Names(unittest.TestCase):
    def test_plurals(self):
        for one, many in {"bus": "buses", "berry": "berries", "toy": "toys", "cup of tea": "cups of tea", "leaf": "leaves",
                          "fish": "fish", "hot air balloon": "hot air balloons", "fox": "foxes"}.items():
            self.assertEqual(things.plural(one), many)

    def test_a_label_is_told_as_people_say_it(self):
        self.assertEqual([things.spoken(label) for label in ("red apple", "cat face", "automobile", "orange")],
                         ["apple", "cat", "car", "orange"])


class Captions(unittest.TestCase):
    def test_training_and_evaluation_share_no_combination(self):
        told, random = grammar.Grammar(THINGS), Random(1)
        train = [told.train(random) for _ in range(2000)]
        unseen = [told.unseen(random) for _ in range(300)]
        self.assertTrue(all(not grammar.held_out(scene, THINGS) for scene in train))
        out = {pair for scene in unseen for pair in scene.held_out}
        coloured = {f"{group.colour} {THINGS[group.thing]['name']}" for scene in train for group in scene.groups}
        self.assertTrue(out)
        self.assertFalse(out & coloured)

    def test_a_relation_is_told_from_either_side(self):
        scene = Scene([Group(0), Group(1, colour="red")], relation="left")
        told = {grammar.Grammar(THINGS).told(scene, Random(seed)).caption for seed in range(200)}
        self.assertIn("a cat to the left of a red dog", told)
        self.assertIn("a red dog to the right of a cat", told)


class Layouts(unittest.TestCase):
    def test_what_a_caption_claims_holds_where_things_stand(self):
        told, random, claims = grammar.Grammar(THINGS), Random(2), []
        for _ in range(2000):
            scene = told.scene(random)
            where = places(scene, [1.0] * len(scene.groups), random)
            found = [(scene.groups[place.group].thing, 0, place.x, place.y) for place in where]
            claims += [claim for kind in ("thing", "count", "four", "relation") for claim in evaluate.verdict(scene, found)[kind]]
        self.assertTrue(all(claims))

    def test_easy_things_stand_on_a_grid_and_as_the_caption_claims(self):
        artist, random, claims = Artist(THINGS, np.ones((5, 2)), easy=True), Random(2), []
        scenes = [artist.grammar.scene(random) for _ in range(500)]
        made = artist.arrays(scenes, 0)
        for scene, layers, what in zip(scenes, made["layers"], made["what"]):
            found = [(thing, 0, x, y) for (x, y, _, _), (thing, _) in zip(layers, what) if thing >= 0]
            corners = (layers[what[:, 0] >= 0][:, :2] - layers[what[:, 0] >= 0][:, 2:3] / 2) * compose.CELLS
            self.assertLess(np.abs(corners - corners.round()).max(), 1e-3)
            claims += [claim for kind in ("thing", "count", "four", "relation") for claim in evaluate.verdict(scene, found)[kind]]
        self.assertGreater(sum(claims) / len(claims), 0.98)

    def test_too_many_things_are_refused(self):
        with self.assertRaisesRegex(ValueError, "at most 4 things, not 5"):
            places(Scene([Group(0, count=5)]), [1.0], Random(0))


class Pictures(unittest.TestCase):
    def setUp(self):
        disc = np.hypot(*np.mgrid[-47.5:48.5, -47.5:48.5]) < 48
        self.sprites = np.broadcast_to(np.where(disc, 255, 0).astype(np.uint8), (5, 4, 96, 96)).copy()
        self.sprites[:, :3] = (self.sprites[:, :3] * 0.5).astype(np.uint8)
        self.scenery = np.zeros((len(grammar.PLACES), 1, 3, 128, 128), np.uint8)

    def test_packing_loses_nothing(self):
        noise = np.random.default_rng(0).integers(0, 256, (2, 4, 9, 7), dtype=np.uint8)
        self.assertTrue((pack.unfolded(pack.folded(noise)) == noise).all())

    def test_a_drawing_is_resampled_as_pillow_does(self):
        canvas = Canvas(self.sprites, self.scenery, 64, "cpu")
        # 40 of 64 pixels: no whole number of samples goes to a pixel.
        layer = torch.tensor([[0.5, 0.5, 0.625, 1.0]])
        ours = canvas.paste(torch.from_numpy(self.sprites[:1]).float(), layer)[0, 3, 12:52, 12:52]
        theirs = Image.fromarray(self.sprites[0, 3]).resize((40, 40), Image.Resampling.BILINEAR)
        away = (ours - torch.from_numpy(np.asarray(theirs).copy()).float()).abs()
        # Pillow rounds twice, and at the edge it weighs anew what is left, where a pasted drawing fades.
        self.assertLess(away[1:-1, 1:-1].max().item(), 2.0)

    def test_a_thing_has_the_colour_that_it_is_given(self):
        scene = Scene([Group(0, colour="blue")], fill=("white",))
        picture = Canvas(self.sprites, self.scenery, 64, "cpu")(Artist(THINGS, np.ones((5, 2))).arrays([scene], 0))
        middle = (picture[0, :, 30:34, 30:34].mean((1, 2)) + 1) / 2
        away = {name: (middle - torch.tensor(rgb)).abs().max().item() for name, rgb in colours.COLOURS.items()}
        self.assertEqual(min(away, key=away.get), "blue")


class Networks(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)
        self.shape = CONFIGS["tiny"].shape
        self.network = Doodle(self.shape)
        for parameter in self.network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        self.text = torch.randn(2, 6, self.shape.text), torch.arange(6)[None] < torch.tensor([[6], [4]])

    def test_words_beyond_the_mask_do_not_matter(self):
        x, one = torch.randn(2, 3, 16, 16), torch.ones(2)
        found = self.network(x, one / 2, one * 0, one, *self.text)
        longer = flow.stretched(self.text, 2, 9)
        self.assertLess((self.network(x, one / 2, one * 0, one, *longer) - found).abs().max().item(), 1e-5)

    def test_a_predicted_picture_says_the_velocity(self):
        x, one = torch.randn(2, 3, 32, 32), torch.ones(2)
        other = Doodle(dataclasses.replace(self.shape, predicts="picture"))
        other.load_state_dict(self.network.state_dict())
        picture, velocity = (network(x, one / 4, one * 0, one, *self.text) for network in (self.network, other))
        self.assertTrue(torch.allclose(x + velocity * 0.75, picture, atol=1e-4))

    def test_a_tile_wraps_around(self):
        x, one = torch.randn(1, 3, 16, 16), torch.ones(1)
        text = [part[:1] for part in self.text]
        draw = lambda x: self.network(x, one / 2, one * 0, one, *text)
        self.network.tile(True)
        self.assertLess((draw(x).roll(8, -1) - draw(x.roll(8, -1))).abs().max().item(), 1e-4)
        self.network.tile(False)
        self.assertGreater((draw(x).roll(8, -1) - draw(x.roll(8, -1))).abs().max().item(), 1e-2)

    def test_weights_come_back_from_their_parts(self):
        with tempfile.TemporaryDirectory() as folder:
            checkpoint.PART_BYTES, kept = 40_000, checkpoint.PART_BYTES
            checkpoint.export(Path(folder), "tiny", self.network, 3, "distil")
            checkpoint.PART_BYTES = kept
            self.assertGreater(len(list(Path(folder).iterdir())), 1)
            again, distilled = checkpoint.read(folder, "tiny", "cpu")
        self.assertTrue(distilled)
        for ours, theirs in zip(self.network.parameters(), again.parameters()):
            # Half a byte's step of the largest.
            self.assertLess((ours - theirs).abs().max().item(), ours.abs().max().item() / 250)

    def test_one_step_learns_to_go_where_two_of_the_teachers_go(self):
        given = torch.zeros(2, 3, 4, 4), self.text, self.text, torch.zeros(2, 3, 4, 4), torch.tensor([0.0, 0.5]), torch.tensor([1.0, 3.0])
        later = lambda by: lambda x, time, *_: torch.ones_like(x) * (time + by)[:, None, None, None]
        self.assertLess(flow.distil_loss(later(1 / 32), later(0), *given).item(), 1e-10)
        self.assertAlmostEqual(flow.distil_loss(later(0), later(0), *given).item(), (1 + 0.25) / 2 / 32 ** 2, places=6)

    def test_samples_of_a_straight_flow_arrive(self):
        goal = torch.rand(2, 3, 8, 8) * 2 - 1
        straight = lambda x, time, *_: (goal - x) / (1 - time[:, None, None, None])
        noise = torch.randn(2, 3, 8, 8)
        found = flow.sample(straight, noise, self.text, self.text, 4, 1.0, True)
        self.assertLess((found - goal).abs().max().item(), 1e-5)


class Words(unittest.TestCase):
    def test_words_are_split_as_bert_splits_them(self):
        self.assertEqual(words("Ein CAFÉ,\u4e2d\u6587 it's_ok!"), ["ein", "cafe", ",", "中", "文", "it", "'", "s", "_", "ok", "!"])

    @prepared
    def test_token_states_are_those_of_transformers(self):
        reference = np.load(HERE / "reference.npz")
        texts = [str(text) for text in reference["texts"]]
        ids, mask = Tokens().batch(texts, 64)
        self.assertEqual(ids.tolist(), reference["ids"].tolist())
        wanted = torch.from_numpy(reference["states"]).float()[mask]
        published = encoder("cpu", encoder_files.published())(ids, mask)[mask]
        # The reference is in half precision.
        self.assertLess((published - wanted).abs().max().item(), 2e-3)
        small = encoder("cpu")(ids, mask)[mask]
        self.assertGreater(torch.nn.functional.cosine_similarity(small, wanted).min().item(), 0.99)


def parameters():
    generator = torch.Generator().manual_seed(3)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((4, 6), (6, 3, 3, 3), (5, 5))]


def one_of_two(others, folder):
    """A step with gradients whose mean is twice the weights."""
    weights = parameters()
    for parameter in weights:
        parameter.grad = parameter.detach() * (1 + 2 * others.rank)
    others.mean([parameter.grad for parameter in weights])
    muon.Muon(weights, 0.1, 0.01, others).step()
    found = {"agreed": others.agreed(10 + others.rank), "weights": [parameter.detach() for parameter in weights]}
    torch.save(found, Path(folder) / f"{others.rank}.pt")


class Training(unittest.TestCase):
    def test_a_balanced_matrix_stretches_all_ways_alike(self):
        for shape in ((8, 30), (30, 8)):
            stretches = torch.linalg.svdvals(muon.balanced(torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))))
            self.assertTrue(0.5 < stretches.min() < stretches.max() < 1.3, stretches)

    def test_what_a_step_learns_from_follows_from_its_number(self):
        def make(number):
            states = torch.full((pool.SHARD, 5, 2), number + 0.5)
            return torch.full((pool.SHARD, 3, 2, 2), number / 100), (states, torch.ones(pool.SHARD, 5, dtype=torch.bool))
        config = dataclasses.replace(CONFIGS["small"], batch=64, reused=2)
        empty = torch.zeros(1, 2, 2), torch.ones(1, 2, dtype=torch.bool)
        with tempfile.TemporaryDirectory() as folder:
            each = [pool.Pool(Path(folder), [(number,) for number in range(20)], config, 0, make, empty, Together()) for _ in range(2)]
            for step in (3, 40):
                (ours, text), (theirs, _) = (one[step] for one in each)
                self.assertTrue(torch.equal(ours, theirs))
                drawn = (ours[:, 0, 0, 0] * 100).round()
                self.assertEqual(len(drawn.unique()), pool.FIRST + step * 64 // (2 * pool.SHARD))
                wordless = text[1].sum(1) == 2
                self.assertTrue(0 < wordless.sum() < 20)
                self.assertTrue(torch.equal(text[0][~wordless, 0, 0], drawn[~wordless] + 0.5))

    def test_processes_move_as_one(self):
        weights = parameters()
        for parameter in weights:
            parameter.grad = parameter.detach() * 2
        muon.Muon(weights, 0.1, 0.01, Together()).step()
        with tempfile.TemporaryDirectory() as folder:
            together(2, one_of_two, folder)
            for found in (torch.load(Path(folder) / f"{rank}.pt") for rank in (0, 1)):
                self.assertEqual(found["agreed"], (10.0,))
                for ours, theirs in zip(weights, found["weights"]):
                    self.assertTrue(torch.allclose(ours, theirs, atol=1e-5))

    @prepared
    def test_a_run_that_was_stopped_gives_the_same_weights(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, stops in (("whole", ("6",)), ("parts", ("3", "6"))):
                for steps in stops:
                    for stage in ("flow",) if steps == "3" else ("flow", "distil"):
                        self.train(stage, Path(folder) / name, steps)
            states = [[torch.load(Path(folder) / name / f"{stage}.pt")["averaged"] for stage in ("flow", "distil")]
                      for name in ("whole", "parts")]
        for ours, theirs in zip(*states):
            for key in ours:
                self.assertTrue(torch.equal(ours[key], theirs[key]), key)

    def train(self, stage, folder, steps):
        subprocess.run([sys.executable, HERE / "train.py", stage, "--config", "tiny", "--run", folder, "--steps", steps,
                        "--device", "cpu", "--precision", "fp32", "--threads", "1"], check=True)


if __name__ == "__main__":
    unittest.main()
