"""What one run stands on: a namespace, a proxy, an operator behind it, and a census of Jobs; and how it is judged."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
from simulation.client import JSON, MERGE, Client, Object, Refused

from kaon.api import conditions as c
from kaon.controllers.conditions import is_true
from kaon.engine.resources import CHILDREN, CUSTOM, RESOURCES
from localcluster import Cluster

from .census import JobCensus
from .forked import ForkServer
from .operator_process import Supervised
from .plans import HANG_SECONDS, Plan, Sort
from .proxy import Proxy
from .scenario import NAME, Step
from .state import State, differences, normalised, observe

WATCHES = len(CUSTOM) + sum(not resource.optional for resource in CHILDREN)
REACH_SECONDS = 90.0
"""For how long a step may take on a busy machine; it takes three."""
QUIET_SECONDS = 1.0
REFERENCE_QUIET_SECONDS = 4.0
"""Where nothing tells what the right state is: longer than a stage takes."""
STILL_SECONDS = 1.3
"""More than the operator's own second look after a write."""
LOOK_SECONDS = 0.25
TRIES = 30


@dataclass(frozen=True, slots=True)
class Ground:
    """What runs share: the cluster, a folder for traces, the steps of the scenario, how these end without faults."""

    cluster: Cluster
    folder: Path
    steps: tuple[Step, ...]
    references: tuple[State, ...] = ()
    """Empty: the run is the one that makes them."""
    counts: tuple[Counter[Sort], ...] = ()
    """How many requests of each sort a run without faults has had after each step."""
    forks: ForkServer | None = None
    """Where operators come from; it lives in one event loop."""

    @property
    def points(self) -> Counter[Sort]:
        """How many requests of each sort can go wrong."""
        return self.counts[-1]

    def first(self, steps: int) -> Ground:
        """The ground of a scenario that ends earlier."""
        return replace(self, steps=self.steps[:steps], references=self.references[:steps], counts=self.counts[:steps])


class Stand:
    """An asynchronous context manager. Inside it the operator watches, and nothing is applied yet."""

    def __init__(
        self,
        ground: Ground,
        plan: Plan | None = None,
        *,
        flags: Sequence[str] = ("--no-leader-elect",),
        env: Mapping[str, str] | None = None,
        restart: bool = True,
    ) -> None:
        self.ground = ground
        self.plan = plan or Plan()
        self.namespace = f"fault-{uuid.uuid4().hex[:8]}"
        self.folder = ground.folder / self.namespace
        self.client = Client(ground.cluster.kubeconfig, "fault-harness")
        self.proxy = Proxy(ground.cluster.server, ground.cluster.layout.pki, self.plan, lambda: self.operator.kill())
        self.census = JobCensus()
        self.states: list[State] = []
        """The state after each step."""
        self.counts: list[Counter[Sort]] = []
        """The requests until the end of each step."""
        self.problems: list[str] = []
        self.operator: Supervised
        self._flags, self._env, self._restart = flags, env, restart
        self._stack = AsyncExitStack()

    def make_operator(self, proxy: Proxy, name: str = "operator") -> Supervised:
        """An operator of this namespace behind a proxy."""
        scope = ("--namespaces", self.namespace, "--lease-namespace", self.namespace)
        kubeconfig = proxy.write_kubeconfig(self.folder / f"{name}.kubeconfig")
        assert self.ground.forks is not None, "this ground has no operators"
        return Supervised(
            self.ground.forks,
            kubeconfig,
            self.folder / f"{name}.log",
            (*self._flags, *scope),
            env=self._env,
            restart=self._restart,
        )

    async def __aenter__(self) -> Stand:
        self.folder.mkdir(parents=True)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.client)
            await self.client.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
            stack.push_async_callback(self._tidy)
            counting = asyncio.create_task(self.census.follow(self.client, self.namespace))
            stack.push_async_callback(_ended, counting)
            await stack.enter_async_context(self.proxy)
            self.operator = self.make_operator(self.proxy)
            await stack.enter_async_context(self.operator)
            await until(lambda: self.proxy.counts["watch"] >= WATCHES, REACH_SECONDS)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *unused: object) -> None:
        await self._stack.aclose()

    async def _tidy(self) -> None:
        with contextlib.suppress(
            Refused
        ):  # an API server that comes back may still refuse; the cluster goes down anyway
            await self.client.request("DELETE", f"/api/v1/namespaces/{self.namespace}")

    # -- what users do ------------------------------------------------------------------------------------------------

    async def act(self, step: Step) -> None:
        """A step of the scenario."""
        for obj in step.applied:
            await self.create(obj)
        for kind, patch in step.patches:
            await self.patch(kind, patch)

    async def create(self, obj: Object) -> None:
        """Create an object."""
        await self._ask("POST", self.path(obj["kind"], ""), obj)

    async def patch(self, kind: str, patch: Object, name: str = NAME) -> None:
        """Merge something into an object."""
        await self._ask("PATCH", self.path(kind, name), patch, MERGE)

    async def delete(self, kind: str, name: str = NAME) -> None:
        """Delete an object; what it owns is collected in the background."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        await self._ask("DELETE", self.path(kind, name), options)

    async def _ask(self, verb: str, path: str, body: Object, media: str = JSON) -> None:
        """A request of a user, whose client tries again when the API server says "later"."""
        for _ in range(TRIES):
            try:
                await self.client.request(verb, path, body, media)
                return
            except Refused as refusal:
                if refusal.status != 429:
                    raise
            await asyncio.sleep(1.0)
        raise TimeoutError(f"{verb} {path}: 429 for {TRIES} s")

    async def get(self, kind: str, name: str = NAME) -> Object | None:
        """An object, or None."""
        try:
            return await self.client.request("GET", self.path(kind, name))
        except Refused as refusal:
            if refusal.status != 404:
                raise
            return None

    async def listed(self, kind: str) -> list[Object]:
        """The objects of a kind."""
        items, _ = await self.client.listing(self.path(kind, ""))
        return [{**item, "kind": kind, "apiVersion": RESOURCES[kind].api_version} for item in items]

    def path(self, kind: str, name: str) -> str:
        """Where an object is, or its collection."""
        return RESOURCES[kind].path(self.namespace, name)

    # -- how it is judged ---------------------------------------------------------------------------------------------

    async def rests(self, number: int) -> bool:
        """Whether everything comes to rest in the right state after a step. What is wrong goes to `problems`."""
        seconds = REACH_SECONDS + (2 * HANG_SECONDS if self.plan.slow else 0)
        if wrong := await self.wrong_for_good(lambda state: self._wrong(state, number), seconds):
            self.problems += [f"step {number + 1} is not reached:", *wrong]
            return False
        quiet = QUIET_SECONDS if self.ground.references else REFERENCE_QUIET_SECONDS
        if not await until(lambda: self._watches() and self.proxy.idle() and self.proxy.quiet_for() > quiet, seconds):
            self.problems.append("the operator does not fall silent")
        writes = self.proxy.counts["write"]
        await asyncio.sleep(STILL_SECONDS)
        state = await self.state()
        self.problems += self._wrong(state, number)
        if self.proxy.counts["write"] != writes:
            self.problems.append(f"{self.proxy.counts['write'] - writes} writes though nothing changes any more")
        self.states.append(state)
        self.counts.append(Counter(self.proxy.counts))
        return True

    async def wrong_for_good(self, wrong: Callable[[State], list[str]], seconds: float = REACH_SECONDS) -> list[str]:
        """What is still wrong after that time; nothing as soon as nothing is, and all resources are ready."""
        found: list[str] = []

        async def right() -> bool:
            nonlocal found
            try:
                found = await self._unready() or wrong(await self.state())
            except (aiohttp.ClientError, OSError, TimeoutError, Refused) as error:
                found = [f"the API server does not answer: {error}"]
            return not found

        await until(right, seconds)
        return found

    async def state(self) -> State:
        """The present state, in the form that is compared."""
        return normalised(await observe(self.client, self.namespace), self.namespace)

    def judge(self) -> list[str]:
        """Everything that was wrong so far."""
        found = [*self.problems, *self.census.problems, *self.census.repeated()]
        return [*found, *([f"the operator ended by itself: {self.operator.exits}"] if self.operator.exits else ())]

    def trace(self) -> str:
        """Every request, and the operator's log."""
        return "\n".join([*map(str, self.proxy.record), "", self.operator.log])

    def _watches(self) -> bool:
        """Whether the operator runs and has seen everything. One that has just been killed is silent, too."""
        return not self.operator.ended and self.proxy.watches_since(self.operator.began) >= WATCHES

    async def _unready(self) -> list[str]:
        resources = [obj for kind in CUSTOM for obj in await self.listed(kind.kind)]
        return [f"{obj['kind']} is not ready" for obj in resources if not is_true(obj, c.READY) or _rolls_out(obj)]

    def _wrong(self, state: State, number: int) -> list[str]:
        references = self.ground.references
        return differences(state, references[number]) if references else []


def _rolls_out(obj: Object) -> bool:
    return bool({"candidate", "retiring"} & obj.get("status", {}).keys())


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def until(look: Callable[[], Awaitable[bool] | bool], seconds: float, every: float = LOOK_SECONDS) -> bool:
    """Whether `look` says so within the time."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if await found if inspect.isawaitable(found) else found:
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(every)
