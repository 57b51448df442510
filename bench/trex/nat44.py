"""What all profiles have in common: how many sessions, from which addresses.

The counts are those of FD.io's CSIT, so that results can be set beside its
reports: 1024 * 4**i hosts with 63 ports each, because 1024 hosts with 63 ports
use the 64512 ports from 1024 to 65535 of one outside address.
"""

import ipaddress

PORTS_PER_HOST = 63
FIRST_PORT = 1024
HOSTS = [1024 * 4**i for i in range(5)]

SERVERS = ipaddress.IPv4Address("20.0.0.0")


class Scale:
    """One size of the test: scale 0 to 4."""

    def __init__(self, scale):
        if not 0 <= scale < len(HOSTS):
            raise ValueError("scale %d: not within 0-%d" % (scale, len(HOSTS) - 1))
        self.hosts = HOSTS[scale]
        self.sessions = self.hosts * PORTS_PER_HOST
        # 192.168.0.0/16 is too small for the largest.
        inside = "192.168.0.0" if self.hosts <= 65536 else "172.16.0.0"
        self.first_host = ipaddress.IPv4Address(inside)
        self.last_host = self.first_host + self.hosts - 1
        # Each host talks to the server with the same offset.
        self.first_server = SERVERS
        self.last_server = SERVERS + self.hosts - 1
        self.first_port = FIRST_PORT
        self.last_port = FIRST_PORT + PORTS_PER_HOST - 1
        # Outside addresses whose ports are just enough.
        self.outside_addresses = self.hosts // 1024
