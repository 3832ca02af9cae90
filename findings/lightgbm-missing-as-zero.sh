#!/usr/bin/env bash
# LightGBM: a missing value in a column that had none in training is read as 0, whatever 0 means in that column.
#
# Seen with lightgbm 4.7.0 and its defaults (use_missing true, zero_as_missing false): the column holds 100 to 200, the label is 1
# above 150. Trained on whole rows, the splits have missing_type None, and a row with NaN is answered as one with 0: as the
# smallest of all. Trained with a few missing values, the splits have missing_type NaN and go where those rows went.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check lightgbm==4.7.0 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import lightgbm
import numpy as np

print(f"lightgbm {lightgbm.__version__}, numpy {np.__version__}")
values = np.random.default_rng(0).uniform(100, 200, (2000, 1))
label = (values[:, 0] > 150).astype(float)
asked = np.array([[np.nan], [0.0], [120.0], [180.0]])


def trained(rows: np.ndarray, target: np.ndarray) -> tuple[str, list[float]]:
    parameters = {"objective": "binary", "num_threads": 1, "verbosity": -1, "seed": 0}
    booster = lightgbm.train(parameters, lightgbm.Dataset(rows, target), 20)
    split = booster.dump_model()["tree_info"][0]["tree_structure"]
    return split["missing_type"], [round(float(one), 3) for one in booster.predict(asked)]


kind, answers = trained(values, label)
print(f"without missing values in training: missing_type {kind}; NaN, 0, 120 and 180 give {answers}")
missing = np.vstack([values, np.full((200, 1), np.nan)])
other, learnt = trained(missing, np.concatenate([label, np.ones(200)]))
print(f"with 200, all of the label 1:       missing_type {other}; NaN, 0, 120 and 180 give {learnt}")
assert kind == "None" and answers[0] == answers[1] == answers[2] < 0.2 < 0.8 < answers[3], "behaviour has changed"
assert other == "NaN" and learnt[0] > 0.8 > 0.2 > learnt[1], "behaviour has changed"
PYTHON
echo "as described"
