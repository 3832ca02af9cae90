#!/usr/bin/env bash
# transformers: MPNet counts positions from a padding token that is always 1, whatever config.pad_token_id says.
#
# Seen with transformers 5.23.0 and torch 2.15.0: with pad_token_id=0 and max_position_embeddings=20 the position table
# still has padding_idx 1. A text of 18 tokens is read, one of 19 raises IndexError. Token 1, an ordinary word of this
# vocabulary, gets the padding position, and the words after it get a lower position.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 torch==2.15.0
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers
from transformers import MPNetConfig, MPNetModel
from transformers.models.mpnet.modeling_mpnet import create_position_ids_from_input_ids

print(f"transformers {transformers.__version__}, torch {torch.__version__}")
config = MPNetConfig(
    vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
    max_position_embeddings=20, pad_token_id=0,
)
model = MPNetModel(config).eval()
table = model.embeddings.position_embeddings
print(f"config.pad_token_id {config.pad_token_id}, padding of the position table {table.padding_idx}")


def reads(tokens: int) -> bool:
    try:
        with torch.no_grad():
            model(input_ids=torch.full((1, tokens), 7))
    except IndexError:
        return False
    return True


longest = max(tokens for tokens in range(1, 21) if reads(tokens))
print(f"max_position_embeddings {config.max_position_embeddings}, longest text that is read {longest} tokens")
positions = create_position_ids_from_input_ids(torch.tensor([[7, 1, 7]]), model.embeddings.padding_idx).tolist()
print(f"positions of the tokens 7 1 7: {positions[0]}")
assert (config.pad_token_id, table.padding_idx, longest) == (0, 1, 18), "behaviour has changed"
assert positions == [[2, 1, 3]], "behaviour has changed"
PYTHON
echo "as described"
