"""The text encoder all-MiniLM-L6-v2 in torch alone: WordPiece tokens and the state of each token after the last layer.

Architecture: BERT (https://arxiv.org/abs/1810.04805) with six layers (https://arxiv.org/abs/2002.10957).
"""

import re
import unicodedata
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import checkpoint

HERE = Path(__file__).parent
NAME = "minilm-l6-v2"
WEIGHTS = HERE / "weights"
VOCABULARY = WEIGHTS / f"{NAME}.txt"
WIDTH, HEADS, LAYERS, INNER = 384, 12, 6, 1536
PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
LONGEST_WORD = 100


class Tokens:
    """Uncased WordPiece, as BERT's: lower case without accents, punctuation apart, longest pieces first."""

    def __init__(self, vocabulary=VOCABULARY):
        self.ids = {piece: index for index, piece in enumerate(Path(vocabulary).read_text().split("\n")) if piece}

    def __call__(self, text, limit):
        """Ids of at most `limit` tokens with start and end; what is too long loses its end."""
        pieces = [piece for word in words(text) for piece in self.pieces(word)]
        return [self.ids[START]] + [self.ids[piece] for piece in pieces[:limit - 2]] + [self.ids[END]]

    def pieces(self, word):
        found, start = [], 0
        if len(word) > LONGEST_WORD:
            return [UNKNOWN]
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in self.ids:
                    break
            else:
                return [UNKNOWN]
            found.append(piece)
            start = end
        return found

    def batch(self, texts, limit):
        """(ids, mask) of texts side by side, each (n, longest) as int64 and bool."""
        rows = [self(text, limit) for text in texts]
        longest = max(len(row) for row in rows)
        ids = torch.tensor([row + [self.ids[PAD]] * (longest - len(row)) for row in rows])
        return ids, torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows])


def words(text):
    """The text in lower case without accents and control characters, split at spaces, punctuation and Chinese characters."""
    text = unicodedata.normalize("NFD", text.lower())
    text = "".join(letter for letter in text if unicodedata.category(letter) not in ("Mn", "Cc", "Cf", "Co") or letter in "\t\n\r")
    return re.findall(r"[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff]|[^\W\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff_]+|[^\w\s]|_", text)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x, mask):
        parts = (layer(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(*parts, attn_mask=mask[:, None, None])
        x = self.norm1(x + self.out(mixed.transpose(1, 2).flatten(2)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Encoder(nn.Module):
    """Token states (n, tokens, 384) for ids and mask."""

    def __init__(self, vocabulary=30522, positions=512):
        super().__init__()
        self.words, self.places, self.kinds = nn.Embedding(vocabulary, WIDTH), nn.Embedding(positions, WIDTH), nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, ids, mask):
        x = self.norm(self.words(ids) + self.places.weight[:ids.shape[1]] + self.kinds.weight[0])
        for layer in self.layers:
            x = layer(x, mask)
        return x


# The names in the published checkpoint, and ours.
PUBLISHED = (
    ("embeddings.word_embeddings", "words"), ("embeddings.position_embeddings", "places"),
    ("embeddings.token_type_embeddings", "kinds"), ("embeddings.LayerNorm", "norm"), ("encoder.layer.", "layers."),
    ("attention.self.", ""), ("attention.output.dense", "out"), ("attention.output.LayerNorm", "norm1"),
    ("intermediate.dense", "up"), ("output.dense", "down"), ("output.LayerNorm", "norm2"),
)


def encoder(device, given=None):
    """The encoder of what encoder_files.py wrote, or of tensors under their published names, frozen."""
    state = {}
    for name, tensor in (given or checkpoint.parts(WEIGHTS, NAME)[0]).items():
        for theirs, ours in PUBLISHED:
            name = name.replace(theirs, ours)
        state[name] = tensor
    model = Encoder(*(state[f"{part}.weight"].shape[0] for part in ("words", "places")))
    model.load_state_dict(state)
    return model.requires_grad_(False).eval().to(device)
