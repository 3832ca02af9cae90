"""The flags about pods say by default what the chart's values say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from knownkeys import ROOT_KEY

from kaon.engine.options import operator_config, parse
from kaon.resources.podpolicy import Egress, Placement, PodPolicy

VALUES = yaml.safe_load((Path(__file__).parents[3] / "charts" / "kaon" / "values.yaml").read_text())


def policy(*flags: str) -> PodPolicy:
    return operator_config(parse(flags, {}), ROOT_KEY).pods


def test_the_charts_values_are_the_defaults_of_the_flags() -> None:
    limits, allowed = VALUES["podTemplate"]["limits"], VALUES["podTemplate"]["allowed"]
    assert policy() == PodPolicy(
        stage_limits=limits["stage"],
        server_limits=limits["server"],
        router_limits=limits["router"],
        placement=Placement(
            service_accounts=tuple(allowed["serviceAccounts"]),
            priority_classes=tuple(allowed["priorityClasses"]),
            runtime_classes=tuple(allowed["runtimeClasses"]),
            tolerations=tuple(allowed["tolerations"]),
        ),
        egress=Egress(
            store_ports=tuple(VALUES["egress"]["storePorts"]),
            api_server_ports=tuple(VALUES["networkPolicy"]["apiServerPorts"]),
            extra_rules=tuple(VALUES["egress"]["extraRules"]),
        ),
    )


def test_each_list_can_be_emptied_and_each_bound_lifted() -> None:
    found = policy("--stage-limits=", "--allowed-runtime-classes=", "--allowed-tolerations=", "--egress-policies=false")
    assert found.stage_limits == {} and found.server_limits
    assert found.placement == Placement(runtime_classes=(), tolerations=())
    assert found.egress is None


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--stage-limits=memory=lots", "'lots' is no quantity, such as 8Gi"),
        ("--stage-limits=memory", "is no quantity"),
        ("--router-limits=nvidia.com/gpu=1", "a limit is of cpu, memory or ephemeral-storage"),
        ("--egress-store-ports=443,https", "invalid"),
        ("--egress-store-ports=0", "no list of ports"),
        ("--egress-store-ports=", "no list of ports"),
        ("--egress-extra-rules=[{}]", "none of them empty"),
        ("--egress-extra-rules={", "is no JSON"),
        ("--egress-policies=maybe", "invalid choice"),
    ],
)
def test_a_flag_that_makes_no_sense_is_refused_at_the_start(
    flag: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse([flag], {})
    assert told in capsys.readouterr().err
