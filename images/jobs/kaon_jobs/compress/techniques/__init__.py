"""The techniques: one file each, all with one face. A technique reads one model directory and writes another.

Those of the trained form (vocabulary, prune, distill, finetune) read and write weights and tokenizer; the workbench
exports what they leave, when it is asked for. Those of the exported form (optimize, lowRank, quantize) read and write
model.onnx; linear writes a model of its own. A network or a tree ensemble has no trained form: it is pruned and trained
in its exported one.

A technique is found by its name, which begins the name of a candidate: prune-trees is the module prune_trees. Where
there is no module of the whole name, the one that it begins with does it: prune is for layers, ffn and heads. The
module says which kinds of models it TAKES, and makes its `technique` of a step's parameters (registry.py). So a new one
is a file here and a step, or a word of one, in the API; and a line in search/ when the search shall use it by itself.
"""
