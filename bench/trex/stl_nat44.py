"""Stateless TRex profile: UDP from inside to outside, all sessions in turn.

One direction only: answers would need to know which outside port was chosen.
Start it on the port that faces the gateway's internal interface.

  start -f stl_nat44.py -p 0 -m 1mpps -t --scale 2 --size 64
"""

import argparse
import os
import sys

from trex.stl.api import IP, STLVM, UDP, CTRexVmInsFixHwCs, Ether, STLPktBuilder, STLStream, STLTXCont

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from nat44 import Scale  # noqa: E402 (beside this file)

FCS = 4


def create_stream(scale, size):
    """A stream that visits every session once, then starts again."""
    packet = Ether() / IP(src=str(scale.first_host), dst=str(scale.first_server))
    packet = packet / UDP(sport=scale.first_port, dport=scale.first_port)
    padding = max(0, size - FCS - len(packet)) * b"x"
    vm = STLVM()
    # The address counts up with each packet, the port when all hosts have had their turn.
    vm.tuple_var(
        name="host",
        ip_min=str(scale.first_host),
        ip_max=str(scale.last_host),
        port_min=scale.first_port,
        port_max=scale.last_port,
        limit_flows=scale.sessions,
    )
    vm.var(name="server", min_value=str(scale.first_server), max_value=str(scale.last_server), size=4, op="inc")
    vm.write(fv_name="host.ip", pkt_offset="IP.src")
    vm.write(fv_name="server", pkt_offset="IP.dst")
    vm.write(fv_name="host.port", pkt_offset="UDP.sport")
    vm.write(fv_name="host.port", pkt_offset="UDP.dport")
    vm.fix_chksum_hw(l3_offset="IP", l4_offset="UDP", l4_type=CTRexVmInsFixHwCs.L4_TYPE_UDP)
    return STLStream(packet=STLPktBuilder(pkt=packet / padding, vm=vm), mode=STLTXCont())


class Profile:
    """What TRex asks for streams."""

    def get_streams(self, direction=0, tunables=(), **kwargs):
        parser = argparse.ArgumentParser(description="NAT44, one direction")
        parser.add_argument("--scale", type=int, default=0, help="0 to 4: 64512 sessions to 16515072")
        parser.add_argument("--size", type=int, default=64, help="bytes of a frame, FCS included")
        args = parser.parse_args(list(tunables))
        if direction != 0:
            return []
        return [create_stream(Scale(args.scale), args.size)]


def register():
    return Profile()
