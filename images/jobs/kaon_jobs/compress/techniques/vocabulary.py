"""Vocabulary trimming: the embedding rows of tokens that the training texts do not need are left out.

Often the biggest part of a small encoder. A word whose token went is read in smaller pieces, down to single characters;
those all stay, so that what the full tokenizer could read stays readable. Where a character has no piece of its own,
the pieces that hold it stay too. The positions that a text of the model's maximum length does not ask for go as well.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import torch

from kaon.api.compressionjob import Vocabulary
from kaon_jobs.compress.families import encoder
from kaon_jobs.compress.families.faithful import TOLERANCE, answers, describes, difference
from kaon_jobs.compress.families.kinds import Kind
from kaon_jobs.compress.families.pieces import kept_tokens, remapped, token_ids, tokens_of
from kaon_jobs.compress.families.tables import Lookup, position_table, token_tables
from kaon_jobs.compress.techniques.base import Technique
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.predict.edges import edge_texts
from kaon_jobs.predict.onnx_model import read_card, write_card
from kaon_jobs.predict.onnx_text import TOKENIZER_FILE, load_tokenizer, longest_of, token_rows

log = logging.getLogger(__name__)

CHECKED_VIEWS = (0, 1)
CHECKED_TEXTS = 16


TAKES: tuple[Kind, ...] = ("encoder",)


def technique(parameters: Vocabulary, kind: Kind) -> Technique:
    """See TechniqueModule."""
    return VocabularyTrimming(parameters)


class VocabularyTrimming:
    """Fewer tokens, and a tokenizer of its own."""

    def __init__(self, parameters: Vocabulary) -> None:
        self._parameters = parameters

    def apply(self, source: Path, target: Path, data: Lessons) -> None:
        """See Technique."""
        model = encoder.load(source)
        description = json.loads((source / TOKENIZER_FILE).read_text(encoding="utf-8"))
        counts = Counter(token for row in data.encoded(source, 0) for token in row)
        ids = token_ids(description)
        enough = [token for token, count in counts.most_common() if count >= (self._parameters.min_count or 1)]
        used = set(enough[: self._parameters.max_tokens]) | named_tokens(model.config)
        kept = kept_tokens(description, {token for token, number in ids.items() if number in used})
        if len(kept) == len(ids):
            raise TechniqueFailed(f"there is nothing to leave out, all {len(ids)} tokens are used")
        order = in_order(kept, ids, model.config.pad_token_id)
        shorten(model, [ids[token] for token in order], longest_of(source))
        encoder.save(model, source, target)
        _write_tokenizer(source, target, remapped(description, order))
        check_answers(source, target, data.draw(CHECKED_TEXTS))
        unread = unreadable(source, target, [text for view in CHECKED_VIEWS for text in data.view(view)])
        log.info("%d of %d tokens stay; %d pieces of the texts became unknown", len(order), len(ids), unread)
        _note(target, {"tokens": len(order), "of": len(ids), "becameUnknown": unread})


def check_answers(source: Path, target: Path, texts: list[str]) -> None:
    """Texts whose tokens all stayed have the same answers; a text of full length, and an empty one, too.

    Raises:
        TechniqueFailed: they have not.
    """
    before, after = load_tokenizer(source), load_tokenizer(target)
    asked = [*edge_texts(before, texts), *texts]
    for tokenizer in (before, after):
        tokenizer.no_padding()
    pairs = zip(before.encode_batch(asked), after.encode_batch(asked), strict=True)
    same = [(one.ids, other.ids) for one, other in pairs if one.tokens == other.tokens and one.ids]
    ids = [[torch.as_tensor([row]) for row in rows] for rows in zip(*same, strict=True)] or [[], []]
    models = (encoder.load(source), encoder.load(target))
    apart = difference(*(answers(model, rows) for model, rows in zip(models, ids, strict=True)))
    if apart > TOLERANCE:
        raise TechniqueFailed(
            f"texts whose tokens all stayed are answered otherwise, logits differ by {apart:.3g} (allowed "
            f"is {TOLERANCE:g})"
        )


def in_order(kept: Set[str], ids: Mapping[str, int], padding: int | None) -> list[str]:
    """The kept tokens in the order of their numbers; the padding token keeps its own number where there are enough, for
    some models count their positions from it."""
    order = sorted(kept, key=lambda token: ids[token])
    pads = [token for token in order if ids[token] == padding]
    if pads and padding is not None and padding < len(order):
        order.remove(pads[0])
        order.insert(padding, pads[0])
    return order


def unreadable(before: Path, after: Path, texts: list[str]) -> int:
    """How many more pieces of the texts the tokenizer of `after` does not know than that of `before`."""
    return _unknown_pieces(after, texts) - _unknown_pieces(before, texts)


def _unknown_pieces(directory: Path, texts: list[str]) -> int:
    unknown = load_tokenizer(directory).token_to_id(tokens_of(directory).get("unk_token", "[UNK]"))
    rows = token_rows(directory, texts, whole=True)
    return 0 if unknown is None else sum(row.count(unknown) for row in rows)


def _note(target: Path, found: dict[str, int]) -> None:
    """The model's card tells what was left out, and how much of the training texts is unreadable because of it."""
    card = read_card(target)
    card = card.model_copy(update={"recipe": {**card.recipe, "vocabulary": found}})
    write_card(target, card)


def named_tokens(config: Any) -> set[int]:
    """The numbers of the tokens that a model's config names: they stay, and get their new numbers there."""
    return {number for value in _named(config).values() for number in (value if isinstance(value, list) else [value])}


def _named(config: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(config).items()
        if name.endswith("_token_id") and isinstance(value, int | list)
    }


def shorten(model: Any, rows: list[int], longest: int) -> None:
    """Leaves those rows of the token table, and no more positions than `longest` tokens ask for, in place.

    Raises:
        TechniqueFailed: the table cannot be told, or the config cannot say what is left.
    """
    tokens, positions = token_tables(model, longest), position_table(model, longest)
    if not tokens:
        raise TechniqueFailed(f"the token table of a {model.config.model_type} model cannot be told apart")
    padding = model.config.pad_token_id
    numbers = {old: new for new, old in enumerate(rows)}
    if padding is not None and padding not in numbers:
        # A padding token that the tokenizer does not know has a row of its own all the same.
        numbers[padding] = len(rows)
        rows = [*rows, padding]
    for item in tokens:
        item.replace(item.table.weight.data[torch.as_tensor(rows)].clone(), numbers.get(item.table.padding_idx or -1))
    for name, value in _named(model.config).items():
        told = [numbers.get(one) for one in value] if isinstance(value, list) else numbers.get(value)
        setattr(model.config, name, told)
    for module in model.modules():
        if not isinstance(module, torch.nn.Embedding) and getattr(module, "padding_idx", None) == padding:
            module.padding_idx = model.config.pad_token_id
    model.config.vocab_size = len(rows)
    if positions is not None:
        _cut_positions(model, positions, longest)
    elif not describes(model.config, model, longest):
        raise TechniqueFailed(f"the config of a {model.config.model_type} model cannot say that tokens were left out")


def _cut_positions(model: Any, before: Lookup, longest: int) -> None:
    """Leaves the positions that are asked for, where they are asked for now; all where the config cannot say it."""
    asked = position_table(model, longest)
    if asked is None:
        raise TechniqueFailed("the position table cannot be told apart any more")
    table, padding = before.table.weight.data, before.table.padding_idx
    fields = ("max_position_embeddings", "max_relative_positions")
    told = {name: getattr(model.config, name) for name in fields if hasattr(model.config, name)}
    for size in dict.fromkeys((int(asked.rows.max()) + 1, len(table))):
        weights = table[:size].clone()
        weights[asked.rows] = table[before.rows]
        asked.replace(weights, None if padding is None else model.config.pad_token_id)
        model.config.max_position_embeddings = size
        if told.get("max_relative_positions", 1) < 1:
            # It means: as many as there are positions.
            model.config.max_relative_positions = told["max_position_embeddings"]
        if describes(model.config, model, longest):
            return
        for name, value in told.items():
            setattr(model.config, name, value)
    raise TechniqueFailed(f"the config of a {model.config.model_type} model cannot say that tokens were left out")


def _write_tokenizer(source: Path, target: Path, description: dict[str, Any]) -> None:
    text = json.dumps(description, ensure_ascii=False, separators=(",", ":"))
    (target / TOKENIZER_FILE).write_text(text, encoding="utf-8")
    # Files of the slow form would bring the old numbers back.
    for name in ("vocab.txt", "vocab.json", "merges.txt"):
        (target / name).unlink(missing_ok=True)
    settings = target / "tokenizer_config.json"
    if settings.is_file():
        found = json.loads(settings.read_text(encoding="utf-8"))
        found.pop("added_tokens_decoder", None)
        settings.write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
