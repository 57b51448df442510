#!/usr/bin/env python3
"""Find NDR and PDR of a NAT gateway with a running TRex server.

  ndrpdr.py stl  --scale 2 --size 64 --high 20e6
  ndrpdr.py astf --proto tcp --kind cps --scale 2 --high 2e6 --reset 'ssh gw xdpct flush'

Prints one JSON line a result, in the form of `xdpct bench`. TRex's Python
packages must be on PYTHONPATH: scripts/automation/trex_control_plane/interactive
of its folder.
"""

import argparse
import json
import os
import subprocess
import sys
import time

from nat44 import Scale
from search import INTERVAL, ndr_pdr

HERE = os.path.dirname(os.path.abspath(__file__))
# Packets of a session of --kind tput without loss.
PACKETS = {"udp": 10, "tcp": 16}
# How long packets may be under way after the last one was sent, in seconds.
SETTLE = 1


class Trial:
    """One trial after the other against a TRex server."""

    def __init__(self, client, args, log=sys.stderr):
        self.client, self.args, self.log = client, args, log
        self.scale = Scale(args.scale)

    def __call__(self, rate):
        sent, lost = self.run(rate)
        share = lost / sent if sent else 1.0
        print("rate %.0f: %d sent, %d lost (%.4f %%)" % (rate, sent, lost, 100 * share), file=self.log)
        return share

    def reset(self):
        """Bring the gateway back to no sessions."""
        if self.args.reset:
            subprocess.run(self.args.reset, shell=True, check=True)


class StlTrial(Trial):
    """Packets a second, one way, over sessions that are already there."""

    def prepare(self):
        from trex.stl.api import STLProfile

        self.client.reset(ports=[0, 1])
        profile = STLProfile.load_py(
            os.path.join(HERE, "stl_nat44.py"),
            direction=0,
            tunables=["--scale", str(self.args.scale), "--size", str(self.args.size)],
        )
        self.client.add_streams(profile.get_streams(), ports=[0])

    def ramp_up(self):
        """Visit every session once, and a little more."""
        self.send(self.args.ramp, 1.1 * self.scale.sessions / self.args.ramp)

    def run(self, rate):
        return self.send(rate, self.args.duration)

    def send(self, rate, duration):
        self.client.clear_stats()
        self.client.start(ports=[0], mult="%dpps" % rate, duration=duration)
        self.client.wait_on_traffic(ports=[0])
        time.sleep(SETTLE)
        stats = self.client.get_stats()
        sent = stats[0]["opackets"]
        return sent, max(0, sent - stats[1]["ipackets"])


class AstfTrial(Trial):
    """Sessions a second (cps), or packets a second of sessions that are there (tput)."""

    def prepare(self):
        self.client.reset()
        self.client.load_profile(
            os.path.join(HERE, "astf_nat44.py"),
            tunables=[
                "--proto", self.args.proto, "--kind", self.args.kind,
                "--scale", str(self.args.scale), "--size", str(self.args.size),
            ],
        )  # fmt: skip

    def ramp_up(self):
        """Open all sessions at a rate that the gateway holds."""
        if self.args.kind == "tput":
            self.send(self.args.ramp)

    def run(self, rate):
        if self.args.kind == "cps":
            self.reset()  # each trial makes its sessions anew
            return self.send(rate)
        return self.send(rate / PACKETS[self.args.proto])

    def send(self, sessions_a_second):
        """Run every session of the profile once."""
        self.client.clear_stats()
        self.client.start(mult=sessions_a_second, duration=self.scale.sessions / sessions_a_second)
        self.client.wait_on_traffic()
        time.sleep(SETTLE)
        return self.outcome(self.client.get_stats())

    def outcome(self, stats):
        """What was tried and what of it failed. Nothing sent counts as all lost."""
        client = stats["traffic"]["client"]
        if self.args.kind == "tput":
            tried = self.scale.sessions * PACKETS[self.args.proto]
            return tried, max(0, tried - stats["total"]["ipackets"])
        if self.args.proto == "tcp":
            done = client.get("tcps_connects", 0)
        else:
            done = stats[0]["ipackets"]
        return self.scale.sessions, max(0, self.scale.sessions - done)


def connect(args):
    """The client of the wanted mode, connected."""
    if args.mode == "stl":
        from trex.stl.api import STLClient

        client = STLClient(server=args.server)
    else:
        from trex.astf.api import ASTFClient

        client = ASTFClient(server=args.server)
    client.connect()
    return client


def summary(samples):
    """Median, 10th and 90th percentile, interpolated as `xdpct bench` does."""
    ordered = sorted(samples)

    def quantile(q):
        at = q * (len(ordered) - 1)
        low = int(at)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (at - low) * (ordered[high] - ordered[low])

    return {"median": quantile(0.5), "p10": quantile(0.1), "p90": quantile(0.9), "rounds": len(ordered)}


def records(args, results):
    """The lines to print: results are (NDR, PDR) a round."""
    params = {"mode": args.mode, "sessions": Scale(args.scale).sessions, "size": args.size}
    unit = "packets/s"
    if args.mode == "astf":
        params.update(proto=args.proto, kind=args.kind)
        if args.kind == "cps":
            unit = "sessions/s"
    for i, what in enumerate(["NDR", "PDR"]):
        yield {"name": "trex", "params": dict(params, rate=what), "unit": unit, **summary([r[i] for r in results])}


def parse(argv):
    parser = argparse.ArgumentParser(description="NDR and PDR of a NAT gateway, by TRex")
    parser.add_argument("mode", choices=["stl", "astf"])
    parser.add_argument("--server", default="127.0.0.1", help="host that TRex runs on")
    parser.add_argument("--proto", choices=["udp", "tcp"], default="udp", help="of astf")
    parser.add_argument("--kind", choices=["cps", "tput"], default="cps", help="of astf")
    parser.add_argument("--scale", type=int, default=0, help="0 to 4: 64512 sessions to 16515072")
    parser.add_argument("--size", type=int, default=None, help="bytes of a frame; default 64 (stl), 100 (astf)")
    parser.add_argument("--low", type=float, default=1e3, help="rate that surely passes")
    parser.add_argument("--high", type=float, required=True, help="rate of the link, or more than the gateway can")
    parser.add_argument("--ramp", type=float, default=1e5, help="sessions a second opened before measuring")
    parser.add_argument("--duration", type=float, default=60, help="seconds of a trial of stl (RFC 2544: 60)")
    parser.add_argument("--interval", type=float, default=INTERVAL, help="relative, at which the search ends")
    parser.add_argument("--rounds", type=int, default=10, help="searches")
    parser.add_argument("--reset", default="", help="command that takes all sessions off the gateway")
    args = parser.parse_args(argv)
    if args.size is None:
        args.size = 64 if args.mode == "stl" else 100
    return args


def main(argv):
    args = parse(argv)
    client = connect(args)
    try:
        trial = (StlTrial if args.mode == "stl" else AstfTrial)(client, args)
        trial.prepare()
        results = []
        for _ in range(args.rounds):
            trial.reset()
            trial.ramp_up()
            results.append(ndr_pdr(trial, args.low, args.high, args.interval))
        for record in records(args, results):
            print(json.dumps(record))
    finally:
        client.disconnect()


if __name__ == "__main__":
    main(sys.argv[1:])
