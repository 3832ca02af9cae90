"""The cache's promises: nothing old replaces anything new, and every change wakes whom it concerns."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaon.controllers.base import Controller, Key, Object, Plan, key_of
from kaon.engine.cache import Cache
from kaon.engine.room import Room
from kaon.engine.slim import slim

versions = itertools.count(1000)


def custom(kind: str, name: str, *, uid: str = "", refers: str = "", phase: str = "", version: int = 0) -> Object:
    return {
        "apiVersion": "kaon.dev/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": uid or f"{kind}-{name}",
            "resourceVersion": str(version or next(versions)),
        },
        "spec": {"refers": refers},
        **({"status": {"phase": phase}} if phase else {}),
    }


def child(
    owner: Object | None, name: str = "child", *, kind: str = "ConfigMap", version: int = 0, data: str = ""
) -> Object:
    references = []
    if owner is not None:
        meta = owner["metadata"]
        references = [{"kind": owner["kind"], "name": meta["name"], "uid": meta["uid"], "controller": True}]
    metadata = {
        "name": name,
        "namespace": "ns",
        "uid": f"{name}-uid",
        "resourceVersion": str(version or next(versions)),
        "ownerReferences": references,
    }
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": {"it": data}}


def pod(owner: Object, **status: Any) -> Object:
    meta = owner["metadata"]
    labels = {"kaon.dev/owner-kind": owner["kind"], "kaon.dev/owner": meta["name"], "kaon.dev/owner-uid": meta["uid"]}
    controller = [{"kind": "Job", "name": "job", "uid": "job", "controller": True}]
    metadata = {
        "name": "pod",
        "namespace": "ns",
        "uid": "pod",
        "resourceVersion": str(next(versions)),
        "labels": labels,
        "ownerReferences": controller,
        "managedFields": [{"manager": "kubelet"}],
        "annotations": {"long": "text"},
    }
    container = {"name": "main", "image": "image", "env": [{"name": "A"}], "resources": {"limits": {"cpu": "1"}}}
    spec = {"nodeName": "node", "containers": [container], "volumes": [{"name": "v"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def references(obj: Object) -> frozenset[Key]:
    if obj["spec"]["refers"] == "broken":
        raise ValueError("no such thing")
    return frozenset({Key("Dataset", "ns", obj["spec"]["refers"])}) if obj["spec"]["refers"] else frozenset()


class Watched:
    """A cache and the keys that it woke since the last look."""

    def __init__(self, room: Room | None = None) -> None:
        self._woken: set[Key] = set()
        kinds = ("Dataset", "TrainingRun")
        shares = frozenset({("ConfigMap", "shared")})
        controllers = {kind: Controller(kind, lambda observed: Plan((), {}), references, shares) for kind in kinds}
        self.cache = Cache(controllers, self._woken.add, room)

    def woken(self) -> set[str]:
        found = {f"{key.kind}/{key.name}" for key in self._woken}
        self._woken.clear()
        return found


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_an_older_version_never_replaces_a_newer_one(watched: Watched) -> None:
    watched.cache.put(custom("Dataset", "a", phase="New", version=20))
    watched.woken()
    watched.cache.put(custom("Dataset", "a", phase="Old", version=10))
    found = watched.cache.get(Key("Dataset", "ns", "a"))
    assert found is not None and found["status"]["phase"] == "New"
    assert watched.woken() == set()


def test_a_deleted_object_does_not_come_back_by_a_late_event(watched: Watched) -> None:
    obj = custom("Dataset", "a")
    watched.cache.put(obj)
    watched.cache.remove(Key("Dataset", "ns", "a"), "Dataset-a")
    watched.cache.put({**obj, "metadata": {**obj["metadata"], "resourceVersion": "999999"}})
    assert watched.cache.get(Key("Dataset", "ns", "a")) is None


def test_a_late_deletion_of_a_namesake_leaves_the_new_object_alone(watched: Watched) -> None:
    watched.cache.put(custom("Dataset", "a", uid="old"))
    watched.cache.put(custom("Dataset", "a", uid="new"))
    watched.cache.remove(Key("Dataset", "ns", "a"), "old")
    entry = watched.cache.entry(Key("Dataset", "ns", "a"))
    assert entry is not None and entry.uid == "new"


def test_a_change_wakes_the_resource_and_exactly_those_who_refer_to_it(watched: Watched) -> None:
    watched.cache.put(custom("TrainingRun", "reader", refers="a"))
    watched.cache.put(custom("TrainingRun", "other", refers="b"))
    watched.woken()
    watched.cache.put(custom("Dataset", "a"))
    assert watched.woken() == {"Dataset/a", "TrainingRun/reader"}
    watched.cache.put(custom("TrainingRun", "reader", refers="b"))
    watched.woken()
    watched.cache.put(custom("Dataset", "a", phase="Ready"))
    assert watched.woken() == {"Dataset/a"}
    watched.cache.remove(Key("Dataset", "ns", "b"), "never seen")
    assert watched.woken() == set()


def test_a_deleted_reference_wakes_its_readers(watched: Watched) -> None:
    watched.cache.put(custom("Dataset", "a"))
    watched.cache.put(custom("TrainingRun", "reader", refers="a"))
    watched.woken()
    watched.cache.remove(Key("Dataset", "ns", "a"), "Dataset-a")
    assert watched.woken() == {"Dataset/a", "TrainingRun/reader"}


def test_a_child_wakes_its_owner_when_it_comes_changes_and_goes(watched: Watched) -> None:
    owner = custom("Dataset", "a")
    watched.cache.put(owner)
    for change in (child(owner), child(owner, data="other")):
        watched.woken()
        watched.cache.put(change)
        assert watched.woken() == {"Dataset/a"}
    watched.cache.remove(Key("ConfigMap", "ns", "child"), "child-uid")
    assert watched.woken() == {"Dataset/a"}


def test_a_change_that_nobody_reads_wakes_nobody(watched: Watched) -> None:
    owner = custom("Dataset", "a")
    watched.cache.put(owner)
    watched.cache.put(child(owner))
    watched.woken()
    touched = child(owner)
    touched["metadata"]["managedFields"] = [{"manager": "somebody"}]
    watched.cache.put(touched)
    assert watched.woken() == set()


def test_children_pods_and_what_a_deleted_namesake_left_are_told_apart(watched: Watched) -> None:
    old, new = custom("Dataset", "a", uid="old"), custom("Dataset", "a", uid="new")
    key = Key("Dataset", "ns", "a")
    for obj in (new, child(old, "left"), child(new, "mine"), child(None, "shared"), pod(new, phase="Running")):
        watched.cache.put(obj)
    assert {child_key.name for child_key in watched.cache.children(key, "new")} == {"mine"}
    assert {child_key.name for child_key in watched.cache.occupied(key, "new")} == {"left"}
    assert [entry.obj["status"] for entry in watched.cache.pods(key, "new").values()] == [{"phase": "Running"}]
    assert watched.cache.pods(key, "old") == {}


def test_whoever_wrote_a_change_is_not_woken_by_it_but_its_readers_are(watched: Watched) -> None:
    key = Key("Dataset", "ns", "a")
    watched.cache.put(custom("Dataset", "a"))
    watched.cache.put(custom("TrainingRun", "reader", refers="a"))
    watched.woken()
    watched.cache.put(custom("Dataset", "a", phase="Succeeded"), author=key)
    assert watched.woken() == {"TrainingRun/reader"}
    watched.cache.put(child(custom("Dataset", "a")), author=key)
    assert watched.woken() == set()


def test_a_shared_object_wakes_every_resource_of_its_namespace(watched: Watched) -> None:
    watched.cache.put(custom("Dataset", "a"))
    watched.cache.put(custom("TrainingRun", "b"))
    watched.woken()
    watched.cache.put(child(None, "shared"))
    assert watched.woken() == {"Dataset/a", "TrainingRun/b"}
    elsewhere = custom("Dataset", "elsewhere")
    elsewhere["metadata"]["namespace"] = "other"
    watched.cache.put(elsewhere)
    watched.woken()
    watched.cache.remove(Key("ConfigMap", "ns", "shared"), "shared-uid")
    assert watched.woken() == {"Dataset/a", "TrainingRun/b"}


def test_a_labelled_object_that_is_nobodys_is_not_kept_and_wakes_nobody(watched: Watched) -> None:
    watched.cache.put(custom("Dataset", "a"))
    watched.woken()
    for text in ("x" * 100_000, "y" * 100_000):
        watched.cache.put(child(None, "impostor", data=text))
    key = Key("ConfigMap", "ns", "impostor")
    entry = watched.cache.entry(key)
    assert entry is not None and entry.data is None and watched.cache.get(key) is None
    assert watched.cache.room.kept_bytes < 1000
    assert watched.woken() == set()


def test_whoever_came_upon_a_stranger_is_woken_when_it_goes(watched: Watched) -> None:
    key = Key("ConfigMap", "ns", "impostor")
    watched.cache.put(custom("Dataset", "a"))
    watched.cache.put(child(None, "impostor"))
    watched.cache.meet(key)
    watched.woken()
    watched.cache.sweep()
    watched.cache.remove(key, "impostor-uid")
    assert watched.woken() == {"Dataset/a"}


def test_the_content_of_a_config_map_is_not_kept_and_its_change_is_seen(watched: Watched) -> None:
    owner = custom("Dataset", "a")
    watched.cache.put(owner)
    watched.cache.put(child(owner, data="x" * 1_000_000))
    assert watched.cache.room.kept_bytes < 2000
    watched.woken()
    watched.cache.put(child(owner, data="y" * 1_000_000))
    assert watched.woken() == {"Dataset/a"}


def test_what_a_namespace_has_above_its_bound_is_known_but_not_kept() -> None:
    watched = Watched(Room(namespace_bytes=3000, object_bytes=2000))
    large = custom("Dataset", "large", refers="a")
    large["spec"]["text"] = "x" * 2000
    many = [custom("Dataset", f"d{number}") for number in range(50)]
    for obj in (large, *many):
        watched.cache.put(obj)
    room = watched.cache.room
    kept = [key for key in watched.cache.keys("Dataset") if watched.cache.get(key)]
    assert 0 < len(kept) < 50 and room.kept_bytes <= 3000 and room.left_out == 51 - len(kept)
    assert watched.cache.references(key_of(large)) == {Key("Dataset", "ns", "a")}, "it is woken as any other"
    elsewhere = custom("Dataset", "elsewhere")
    elsewhere["metadata"]["namespace"] = "other"
    watched.cache.put(elsewhere)
    assert watched.cache.get(key_of(elsewhere)) is not None, "one namespace takes no room from another"


def test_what_was_left_out_is_kept_once_there_is_room_and_nobody_is_woken_by_that() -> None:
    watched = Watched(Room(namespace_bytes=400))
    first, second = custom("Dataset", "first"), custom("Dataset", "second")
    first["spec"]["text"] = second["spec"]["text"] = "x" * 200
    watched.cache.put(first)
    watched.cache.put(second)
    assert watched.cache.get(key_of(second)) is None
    watched.cache.remove(key_of(first), first["metadata"]["uid"])
    watched.woken()
    watched.cache.put(second)
    assert watched.cache.get(key_of(second)) is not None and watched.woken() == set()
    assert (watched.cache.room.left_out, watched.cache.room.full) == (0, 0)


STEPS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(("put", "remove")), st.integers(0, 900)), max_size=40)


@given(STEPS)
def test_what_is_counted_is_what_is_kept_whatever_comes_and_goes(steps: list[tuple[int, str, int]]) -> None:
    watched = Watched(Room(namespace_bytes=2000, object_bytes=800))
    versions_of: dict[str, int] = {}
    for number, what, size in steps:
        name = f"d{number}"
        if what == "put":
            versions_of[name] = versions_of.get(name, 0) + 1
            obj = custom("Dataset", name, uid=f"{name}-{versions_of[name] // 3}", version=next(versions))
            watched.cache.put({**obj, "spec": {"refers": "", "text": "x" * size}})
        elif (entry := watched.cache.entry(Key("Dataset", "ns", name))) is not None:
            watched.cache.remove(Key("Dataset", "ns", name), entry.uid)
        entries = [watched.cache.entry(key) for key in watched.cache.keys("Dataset")]
        kept = [entry for entry in entries if entry is not None and entry.data is not None]
        assert watched.cache.room.kept_bytes == sum(entry.size for entry in kept) <= 2000
        assert watched.cache.room.left_out == len(entries) - len(kept)


def test_a_list_removes_what_it_does_not_name_but_nothing_newer_than_itself(watched: Watched) -> None:
    owner = custom("Dataset", "a")
    watched.cache.put(owner)
    gone, kept, newer = (
        child(owner, "gone", version=5),
        child(owner, "kept", version=6),
        child(owner, "newer", version=11),
    )
    for obj in (gone, kept, newer):
        watched.cache.put(obj)
    watched.woken()
    assert watched.cache.retain("ConfigMap", None, {key_of(kept)}, version=10) == 1
    assert {key.name for key in watched.cache.keys("ConfigMap")} == {"kept", "newer"}
    assert watched.woken() == {"Dataset/a"}


def test_a_list_of_one_namespace_says_nothing_about_another(watched: Watched) -> None:
    watched.cache.put(child(custom("Dataset", "a"), version=5))
    assert watched.cache.retain("ConfigMap", "elsewhere", set(), version=10) == 0
    assert len(watched.cache.keys("ConfigMap")) == 1


def test_references_that_cannot_be_read_do_not_stop_the_watch(watched: Watched) -> None:
    watched.cache.put(custom("TrainingRun", "bad", refers="broken"))
    assert watched.cache.references(Key("TrainingRun", "ns", "bad")) == frozenset()


def test_an_object_that_cannot_be_kept_is_left_out_and_stops_no_other(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    poisoned = custom("Dataset", "poisoned")
    poisoned["spec"]["number"] = 10**30
    for _ in range(2):
        watched.cache.put(poisoned)
        watched.cache.put(custom("Dataset", "fine"))
    assert [key.name for key in watched.cache.keys("Dataset")] == ["fine"]
    assert caplog.text.count("cannot be read and is ignored") == 1


def test_phases_are_counted_as_resources_change_and_go(watched: Watched) -> None:
    watched.cache.put(custom("Dataset", "a", phase="Running"))
    watched.cache.put(custom("Dataset", "b", phase="Running"))
    watched.cache.put(custom("Dataset", "a", phase="Succeeded"))
    watched.cache.remove(Key("Dataset", "ns", "b"), "Dataset-b")
    assert {key: count for key, count in watched.cache.phases.items() if count} == {("Dataset", "Succeeded"): 1}


def test_whoever_changes_what_the_cache_gave_changes_a_copy(watched: Watched) -> None:
    watched.cache.put(custom("Dataset", "a", phase="Running"))
    key = Key("Dataset", "ns", "a")
    found = watched.cache.get(key)
    assert found is not None
    found["status"]["phase"] = "edited"
    again = watched.cache.get(key)
    assert again is not None and again["status"]["phase"] == "Running"


def test_a_pod_is_kept_without_what_no_controller_reads() -> None:
    original = pod(custom("Dataset", "a"), phase="Running", podIP="1.2.3.4", conditions=[{"type": "Ready"}])
    found = slim(original)
    assert found["spec"] == {
        "nodeName": "node",
        "containers": [{"name": "main", "resources": {"limits": {"cpu": "1"}}}],
    }
    assert found["status"] == {"phase": "Running", "conditions": [{"type": "Ready"}]}
    assert "managedFields" not in found["metadata"] and "annotations" not in found["metadata"]
    assert "managedFields" in original["metadata"]


def test_an_object_is_kept_without_the_bookkeeping_of_others() -> None:
    obj = custom("Dataset", "a")
    last_applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "yes"}
    obj["metadata"] |= {"managedFields": [{}], "annotations": last_applied}
    obj["metadata"]["annotations"]["kaon.dev/applied"] = "0123"
    obj["metadata"]["labels"] = {"team": "x" * 63, "kaon.dev/owner": "a", "kueue.x-k8s.io/queue-name": "q"}
    obj["metadata"]["finalizers"] = ["x" * 1000]
    obj["metadata"]["ownerReferences"] = [{"name": "y" * 1000}]
    obj["data"] = "z" * 1000
    assert slim(obj)["metadata"]["annotations"] == {"kaon.dev/applied": "0123"}
    assert slim(obj)["metadata"]["labels"] == {"kaon.dev/owner": "a", "kueue.x-k8s.io/queue-name": "q"}
    assert slim(obj)["metadata"].keys() == {"name", "namespace", "uid", "annotations", "labels"}
    assert slim(obj).keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert slim(obj)["spec"] == obj["spec"]
