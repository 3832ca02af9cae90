"""One file a kind: plan(observed) -> Plan. Pure: no I/O, no clock, no globals."""
