"""Strings, numbers and structures that have broken other people's software. Pure data, and small functions of it."""

from __future__ import annotations

import random
from typing import Any

MEGABYTE = 1_000_000

TEXTS: tuple[str, ...] = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "line one\nline two",
    "a\r\nKAON_JOB_SPEC: {}",
    "\t\x0b\x0c",
    "\x1b[31mred\x1b[0m",
    "\u202egpj.exe",  # right-to-left override
    "\u2066\u2067\u2069",
    "a\u200b\u200c\u200d\ufeffb",  # zero width
    "\u00a0",
    "\u2028\u2029\u0085",
    "e\u0301\u0327" * 10,
    "Z̷̢a̸l̶g̷o̶" * 5,
    "ﷺ" * 20,
    "𝕒𝓫𝔠",
    "👩‍👩‍👧‍👦" * 4,
    "\U0010ffff",
    "\ufffe\uffff",
    "İıſK",  # letters that change their length or script with case
    "раypal",  # Cyrillic
    "../../../etc/passwd",
    "..\\..\\windows",
    "%2e%2e%2f%2e%2e%2f",
    "$(HOME)",
    "$(KAON_JOB_SPEC)",
    "$$(X)",
    "${jndi:ldap://127.0.0.1/a}",
    "{{ .Values.secret }}",
    "{{7*7}}",
    "`id`",
    "; rm -rf / #",
    "' OR 1=1 --",
    '"}, "secret": "other", {"a": "',
    "%s%n%x",
    "{0.__class__}",
    "<script>alert(1)</script>",
    "!!python/object/apply:os.system [id]",
    "NaN",
    "Infinity",
    "-0",
    "1e999",
    "null",
    "true",
    "0x7f",
    "۱۲۳",  # digits of another script
    "a" * 63,
    "a" * 64,
    "a" * 253,
    "a" * 1025,
    "-",
    "-a-",
    ".",
    "..",
    "a.b",
    "A",
    "a_b",
    "a/b",
    "/",
    "kube-system/admin",
    "system:masters",
)

URIS: tuple[str, ...] = (
    "file:///etc/passwd",
    "file:///var/run/kaon/secrets/kaon-store/AWS_SECRET_ACCESS_KEY",
    "file:///var/run/secrets/kubernetes.io/serviceaccount/token",
    "file:///proc/self/environ",
    "file://evil.example/mnt/a.csv",
    "file:///mnt/../etc/passwd",
    "file:///mnt/%2e%2e/etc/passwd",
    "file:///mnt/a/./../../etc/passwd",
    "file:/etc/passwd",
    "FILE:///etc/passwd",
    "s3://b/../../etc/passwd",
    "s3://b/%2e%2e/%2e%2e/etc",
    "s3://b/a//b",
    "s3://b/a\x00.csv",
    "s3://b/a\nAWS_ENDPOINT_URL=http://evil",
    "s3://b/a\u00a0b",
    "s3://b/a\u2028b",
    "s3://b/\u202evsc.swor",
    "s3://b/$(AWS_SECRET_ACCESS_KEY)",
    "s3://",
    "s3:///a",
    "s3://user:password@b/a",
    "s3://b:99999/a",
    "s3://b/a?X-Amz-Signature=abc#f",
    "s3://[::1]/a",
    "s3://b/" + "a/" * 500,
    "s3://" + "b" * 1010,
    "https://169.254.169.254/latest/meta-data",
    "https://kubernetes.default.svc/api/v1/secrets",
    "https://[::ffff:127.0.0.1]/x.csv",
    "http://plain.example/x.csv",
    "gopher://b/a",
    "javascript:alert(1)",
    "//b/a",
    "s3:\\\\b\\a",
)

NUMBERS: tuple[Any, ...] = (
    *(0, -1, 2**31 - 1, 2**31, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**20, 10**25, 10**300),
    *(-(2**31) - 1, -(2**63), -(2**63) - 1, -(10**20), 1.5, 1e-320, 5e-324, 1e308, 1.7976931348623157e308, -0.0),
    *(7.0, 1e3, 0.1 + 0.2, 1e21, 1e22, "NaN", "Infinity", "-Infinity", "1", "0x10", "1_000", "١", True, None, [], {}),
)

QUANTITIES: tuple[Any, ...] = (
    *(-1, 0, 10**20, 2**63, "0", "0.5", "0.0001m", "1e3", "1E", "-1", "+1", "1 Gi", "9999999999P", "1" * 200, "Gi", ""),
    *("0.000000000001", 1.5, "1.5", "500m", "1Ki", "NaN", "１"),
)

RESOURCES: tuple[str, ...] = (
    *("cpu", "memory", "nvidia.com/gpu", "ephemeral-storage", "hugepages-2Mi", "storage", "pods", "foo", "Foo/Bar"),
    *("", " ", "a/b/c", "requests.cpu", "kubernetes.io/x", "a" * 300, "example.com/", "x\ny", "счёт"),
)

LABELS: tuple[tuple[str, str], ...] = (
    ("", ""),
    ("a b", "c"),
    ("a", "c d"),
    ("a", "-"),
    ("a/b/c", "d"),
    ("a" * 64, "b"),
    ("x." * 130 + "io/a", "b"),
    ("kubernetes.io/hostname", "a" * 63),
    ("node-role.kubernetes.io/control-plane", ""),
    ("a", "\u200b"),
    ("ключ", "значение"),
    ("a\nb", "c"),
)

TOLERATIONS: tuple[dict[str, Any], ...] = (
    {},
    {"operator": "Exists", "value": "x"},
    {"operator": "Equal"},
    {"key": "a b", "operator": "Exists"},
    {"key": "a" * 316, "operator": "Exists"},
    {"key": "a", "operator": "Equal", "value": "b c"},
    {"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5},
    {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2**63 - 1},
    {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10**20},
    {"key": "", "operator": "Equal", "value": ""},
    {"operator": "Exists", "effect": "NoExecute"},
)

MOUNTS: tuple[str, ...] = (
    *("/mnt/", "/mnt/a", "/mnt/a:b", "/mnt//a", "/mnt/./a", "/mnt/a/", "/mnt/a\nb", "/mnt/\x00", "/mnt/" + "a" * 251),
    *("/mnt/..", "/mnt/a/../../etc", "/mnt", "mnt/a", "/var/run/kaon/secrets", "/", "/mnt/%2e%2e", "/mnt/\u202e"),
)

NAMES_OF_OTHERS: tuple[str, ...] = (
    *("nobody", "default", "-x", "X", "a.b", "a/b", "a" * 253, "a" * 64, "kube-system/default", "..", "a_b", "ü", ""),
    *("system-node-critical", "a\nb"),
)

VARIABLES: tuple[str, ...] = (
    *("KAON_JOB_SPEC", "KAON_SECRETS_DIR", "PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP"),
    *("HOME", "TMPDIR", "POD_NAME", "POD_NAMESPACE", "KUBERNETES_SERVICE_HOST", "JAVA_TOOL_OPTIONS", "OPENSSL_CONF"),
    *("AWS_ENDPOINT_URL_S3", "HTTPS_PROXY", "NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "APP_SETTING"),
    *("kaon_job_spec", "_", "A" * 128, "A=B", "1A", "A-B", "A.B", "", "A B", "Ä"),
)


def nested(depth: int, rng: random.Random) -> str:
    """JSON, as text, that is nested so deep: objects, lists, or both by turns."""
    opening, closing = rng.choice((('{"a":', "}"), ("[", "]"), ('{"a":[', "]}")))
    return opening * depth + "1" + closing * depth


def wide(count: int) -> dict[str, Any]:
    """An object with many fields."""
    return {f"field{number}": number for number in range(count)}


def long_text(rng: random.Random) -> str:
    """A string of about a megabyte."""
    return rng.choice(("a", "ü", "数", "\\", '"', "\x01", "𝕒", "\u202e")) * MEGABYTE
