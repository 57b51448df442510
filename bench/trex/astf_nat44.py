"""Stateful TRex profile: sessions that clients inside open to servers outside.

  --kind cps    a session and as few packets as show that it works both ways:
                UDP 1+1 packets, TCP 7 (handshake and end)
  --kind tput   five packets of data each way: UDP 5+5, TCP 16 in all

The multiplier of `start` is the number of sessions a second.

  start -f astf_nat44.py -m 100000 -t --proto udp --kind cps --scale 2
"""

import argparse
import os
import sys

from trex.astf.api import (
    ASTFAssociationRule,
    ASTFGlobalInfo,
    ASTFIPGen,
    ASTFIPGenDist,
    ASTFIPGenGlobal,
    ASTFProfile,
    ASTFProgram,
    ASTFTCPClientTemplate,
    ASTFTCPServerTemplate,
    ASTFTemplate,
)

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from nat44 import Scale  # noqa: E402 (beside this file)

SERVER_PORT = 8080
DATA_PACKETS = 5
# Longer than any trial: a session that lost a packet must not send more.
KEEPALIVE_MS = 2_000_000

ETHERNET, IPV4, UDP, TCP, FCS = 14, 20, 8, 20, 4


def udp_programs(kind, size):
    """What client and server do; the frames have size bytes."""
    data = b"x" * (size - ETHERNET - IPV4 - UDP - FCS)
    packets = DATA_PACKETS if kind == "tput" else 1
    client, server = ASTFProgram(stream=False), ASTFProgram(stream=False)
    for program in (client, server):
        program.set_keepalive_msg(KEEPALIVE_MS)
    for _ in range(packets):
        client.send_msg(data)
    client.recv_msg(packets)
    server.recv_msg(packets)
    for _ in range(packets):
        server.send_msg(data)
    return client, server


def tcp_programs(kind, size):
    """What client and server do; the frames with data have size bytes."""
    client, server = ASTFProgram(), ASTFProgram()
    client.connect()
    if kind == "tput":
        data = b"x" * (DATA_PACKETS * segment(size))
        client.send(data)
        client.recv(len(data))
        server.recv(len(data))
        server.send(data)
    server.wait_for_peer_close()
    return client, server


def segment(size):
    """The bytes of data in a TCP frame of so many bytes; no options."""
    return size - ETHERNET - IPV4 - TCP - FCS


def tcp_settings(size):
    """TCP of one side: the data leaves in one burst of full segments."""
    info = ASTFGlobalInfo()
    info.tcp.mss = segment(size)
    info.tcp.initwnd = DATA_PACKETS
    info.tcp.no_delay = 1
    info.tcp.do_rfc1323 = 0  # no timestamps: headers of 20 bytes
    return info


def create_profile(proto, kind, scale, size):
    """The profile of one test."""
    clients = ASTFIPGenDist(ip_range=[str(scale.first_host), str(scale.last_host)], distribution="seq")
    servers = ASTFIPGenDist(ip_range=[str(scale.first_server), str(scale.last_server)], distribution="seq")
    addresses = ASTFIPGen(glob=ASTFIPGenGlobal(ip_offset="1.0.0.0"), dist_client=clients, dist_server=servers)
    programs = udp_programs if proto == "udp" else tcp_programs
    client, server = programs(kind, size)
    template = ASTFTemplate(
        client_template=ASTFTCPClientTemplate(
            program=client, ip_gen=addresses, port=SERVER_PORT, cps=1, limit=scale.sessions
        ),
        server_template=ASTFTCPServerTemplate(program=server, assoc=ASTFAssociationRule(port=SERVER_PORT)),
    )
    settings = {}
    if proto == "tcp":
        settings = {"default_c_glob_info": tcp_settings(size), "default_s_glob_info": tcp_settings(size)}
    return ASTFProfile(default_ip_gen=addresses, templates=template, **settings)


class Profile:
    """What TRex asks for the profile."""

    def get_profile(self, tunables=(), **kwargs):
        parser = argparse.ArgumentParser(description="NAT44, both directions")
        parser.add_argument("--proto", choices=["udp", "tcp"], default="udp")
        parser.add_argument("--kind", choices=["cps", "tput"], default="cps")
        parser.add_argument("--scale", type=int, default=0, help="0 to 4: 64512 sessions to 16515072")
        parser.add_argument("--size", type=int, default=100, help="bytes of a frame with data, FCS included")
        args = parser.parse_args(list(tunables))
        return create_profile(args.proto, args.kind, Scale(args.scale), args.size)


def register():
    return Profile()
