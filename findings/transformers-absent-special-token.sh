#!/usr/bin/env bash
# transformers: the id of a special token that no vocabulary can hold is another token's, or is looked for without end.
#
# Seen with transformers 5.23.0 and tokenizers 0.23.3: a tokenizer takes pad_token="" and unk_token="" without a word. A
# token that the vocabulary lacks is added to it, but an empty one cannot be. Then pad_token_id is the id of the unknown
# token. With unk_token="" texts are still read, and unk_token_id raises RecursionError: the library stands the unknown
# token in for a token that it does not find, and looks for that one in the same way.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$folder/venv/bin/python" - <<'PYTHON'
import tokenizers
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

print(f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}")


def made(**special: str) -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({"[UNK]": 0, "[PAD]": 1, "good": 2, "bad": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, **{"unk_token": "[UNK]", "pad_token": "[PAD]", **special})


usual, added, padded, unknown = made(), made(pad_token="<pad>"), made(pad_token=""), made(unk_token="")
print(f"pad_token '[PAD]': id {usual.pad_token_id}; '<pad>', which is not there: id {added.pad_token_id}, a new one")
print(f"pad_token '': id {padded.pad_token_id}, and the unknown token has id {padded.unk_token_id}")
try:
    raised = f"no error, id {unknown.unk_token_id}"
except RecursionError as error:
    raised = type(error).__name__
print(f"unk_token '': a text is read as {unknown('good film')['input_ids']}, unk_token_id: {raised}")
assert (usual.pad_token_id, added.pad_token_id) == (1, 4), "behaviour has changed"
assert padded.pad_token_id == padded.unk_token_id == 0, "behaviour has changed"
assert unknown("good film")["input_ids"] == [2, 0] and raised == "RecursionError", "behaviour has changed"
PYTHON
echo "as described"
