#!/usr/bin/env bash
# model-signing: a fresh installation cannot be imported, because a module that it imports belongs to a package that
# it does not ask for.
#
# Seen with model-signing 1.1.1 and sigstore 4.5.1 on Python 3.11: `pip install model-signing` ends well, and
# `import model_signing` raises ModuleNotFoundError for OpenSSL. With pyOpenSSL beside it, the import works.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check model-signing==1.1.1 sigstore==4.5.1
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata as metadata

asked = sorted(line.split(";")[0].strip() for line in metadata.requires("model-signing") if "extra" not in line)
print(f"model-signing {metadata.version('model-signing')} asks for: {', '.join(asked)}")
assert not any(name.lower().startswith("pyopenssl") for name in asked), "behaviour has changed"
try:
    import model_signing
except ModuleNotFoundError as error:
    print(f"import model_signing: {error}")
    assert error.name == "OpenSSL", "behaviour has changed"
else:
    raise AssertionError("behaviour has changed")
PYTHON
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyopenssl==26.4.0
"$folder/venv/bin/python" -c 'import model_signing; print("with pyOpenSSL: imported")'
echo "as described"
