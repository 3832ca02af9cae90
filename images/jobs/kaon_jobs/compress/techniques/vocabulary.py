"""Vocabulary trimming: the embedding rows of tokens that the training texts do not need are left out.

Often the biggest part of a small encoder. A word whose token went is read in smaller pieces, down to single characters;
those all stay, so that what the full tokenizer could read stays readable. Where a character has no piece of its own,
the pieces that hold it stay too. The positions that the model's maximum length never reaches go as well.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from kaon.api.compressionjob import Vocabulary
from kaon_jobs.compress import encoder
from kaon_jobs.compress.lessons import Lessons
from kaon_jobs.compress.techniques.pieces import kept_tokens, remapped, token_ids, tokens_of
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.onnx_model import CARD_FILE, read_card
from kaon_jobs.onnx_text import TOKENIZER_FILE, load_tokenizer, longest_of, token_rows

log = logging.getLogger(__name__)

CHECKED_VIEWS = (0, 1)


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
        used = set(enough[: self._parameters.max_tokens])
        kept = kept_tokens(description, {token for token, number in ids.items() if number in used})
        if len(kept) == len(ids):
            raise TechniqueFailed(f"there is nothing to leave out: all {len(ids)} tokens are used")
        order = sorted(kept, key=lambda token: ids[token])
        encoder.save(_shortened(model, [ids[token] for token in order], longest_of(source)), source, target)
        _write_tokenizer(source, target, remapped(description, order))
        unread = unreadable(source, target, [text for view in CHECKED_VIEWS for text in data.view(view)])
        log.info("%d of %d tokens stay; %d pieces of the texts became unknown", len(order), len(ids), unread)
        _note(target, {"tokens": len(order), "of": len(ids), "becameUnknown": unread})


def unreadable(before: Path, after: Path, texts: list[str]) -> int:
    """How many more pieces of the texts the tokenizer of `after` does not know than that of `before`."""
    return _unknown_pieces(after, texts) - _unknown_pieces(before, texts)


def _unknown_pieces(directory: Path, texts: list[str]) -> int:
    unknown = load_tokenizer(directory).token_to_id(tokens_of(directory).get("unk_token", "[UNK]"))
    return sum(row.count(unknown) for row in token_rows(directory, texts, whole=True))


def _note(target: Path, found: dict[str, int]) -> None:
    """The model's card tells what was left out, and how much of the training texts is unreadable because of it."""
    card = read_card(target)
    card = card.model_copy(update={"recipe": {**card.recipe, "vocabulary": found}})
    (target / CARD_FILE).write_text(json.dumps(card.wire(), indent=1, ensure_ascii=False), encoding="utf-8")


def _shortened(model: Any, rows: list[int], positions: int) -> Any:
    """The model with those rows of its token table, and with no more positions than it reads."""
    chosen = torch.as_tensor(rows)
    table = model.get_input_embeddings()
    smaller = torch.nn.Embedding(len(rows), table.embedding_dim)
    smaller.weight.data = table.weight.data[chosen].clone()
    padding = model.config.pad_token_id
    if padding is not None and padding in rows:
        smaller.padding_idx = rows.index(padding)
        model.config.pad_token_id = rows.index(padding)
    model.set_input_embeddings(smaller)
    model.config.vocab_size = len(rows)
    _cut_positions(model, positions)
    return model


def _cut_positions(model: Any, positions: int) -> None:
    # RoBERTa counts positions from the padding token on.
    offset = (model.config.pad_token_id or 0) + 1 if "roberta" in model.config.model_type else 0
    wanted = positions + offset
    for module in encoder.base_of(model).modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, torch.nn.Embedding) and table.num_embeddings > wanted:
            shorter = torch.nn.Embedding(wanted, table.embedding_dim, padding_idx=table.padding_idx)
            shorter.weight.data = table.weight.data[:wanted].clone()
            module.position_embeddings = shorter
            model.config.max_position_embeddings = wanted


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
