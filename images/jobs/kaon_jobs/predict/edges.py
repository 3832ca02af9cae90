"""Texts at the edges of what a text classifier reads: an empty one, one of full length, and lengths between. No torch.

Every check of a model asks it these too: real rows are seldom as long as a model allows, and a table of positions that
is too short, or an export that is fixed to one length, shows on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

_TEXTS, _CHARACTERS = 64, 2000
"""Real texts that a long one is put together from, and characters of each."""
_BEYOND = 8
"""Tokens that a text of full length has more than are read: it is cut, as real long texts are."""


def edge_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """An empty text and one of full length, made of real ones. The tokenizer cuts at the model's length."""
    return ["", text_of_length(tokenizer, texts, longest_of(tokenizer))]


def spread_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """Texts of five lengths, up to the longest that the tokenizer does not cut further."""
    longest = longest_of(tokenizer)
    lengths = sorted({max(4, longest * part // 4) for part in (0, 1, 2, 3, 4)})
    return [text_of_length(tokenizer, texts, length) for length in lengths]


def longest_of(tokenizer: Tokenizer) -> int:
    """Tokens at which a tokenizer cuts."""
    truncation = tokenizer.truncation
    if truncation is None:
        raise ValueError("the tokenizer of an exported model cuts at the model's length, and this one does not cut")
    return int(truncation["max_length"])


def text_of_length(tokenizer: Tokenizer, texts: Sequence[str], tokens: int) -> str:
    """A text of about so many tokens, special ones included; of the longest length exactly, once it is cut.

    Without any token in the texts it is a text of theirs as it is.
    """
    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.no_truncation()
    whole.no_padding()
    pool = " ".join(text[:_CHARACTERS] for text in texts[:_TEXTS])
    wanted = tokens - whole.num_special_tokens_to_add(False)
    if tokens >= longest_of(tokenizer):
        wanted += _BEYOND
    once = len(whole.encode(pool, add_special_tokens=False))
    if not once:
        return pool
    # Twice what is missing: tokens at the joints may melt into one.
    pool = " ".join([pool] * (1 + 2 * max(0, wanted) // once))
    ends = [end for _, end in whole.encode(pool, add_special_tokens=False).offsets]
    return pool[: max(ends[: max(1, wanted)])]
