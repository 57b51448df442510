"""Tests that need no TRex: its API is replaced by records of the calls.

  python3 -m unittest discover -s bench/trex
"""

import io
import os
import subprocess
import sys
import types
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True


class Recorded:
    """An object of TRex's API: remembers how it was made and what was called."""

    def __init__(self, *args, **kwargs):
        self.args, self.kwargs, self.calls = args, kwargs, []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args, **kwargs):
            self.calls.append((name, args, kwargs))

        return call

    def called(self, name):
        return [c for c in self.calls if c[0] == name]


class Layer(Recorded):
    """A packet of scapy: layers are put together by /, and it has a length."""

    lengths = {"Ether": 14, "IP": 20, "UDP": 8}

    def __init__(self, *args, length=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.length = self.lengths[type(self).__name__] if length is None else length

    def __truediv__(self, other):
        length = self.length + (len(other) if isinstance(other, bytes) else other.length)
        return Layer(length=length)

    def __len__(self):
        return self.length


class Settings(Recorded):
    def __init__(self):
        super().__init__()
        self.tcp = types.SimpleNamespace()


def fake_trex():
    names = {
        "stl": ["STLVM", "STLPktBuilder", "STLStream", "STLTXCont"],
        "astf": [
            "ASTFAssociationRule", "ASTFIPGen", "ASTFIPGenDist", "ASTFIPGenGlobal", "ASTFProfile",
            "ASTFProgram", "ASTFTCPClientTemplate", "ASTFTCPServerTemplate", "ASTFTemplate",
        ],
    }  # fmt: skip
    modules = {"trex": types.ModuleType("trex")}
    for mode, classes in names.items():
        api = types.ModuleType("trex.%s.api" % mode)
        for name in classes:
            setattr(api, name, type(name, (Recorded,), {}))
        modules["trex." + mode] = types.ModuleType("trex." + mode)
        modules["trex.%s.api" % mode] = api
    for name in Layer.lengths:
        setattr(modules["trex.stl.api"], name, type(name, (Layer,), {}))
    modules["trex.stl.api"].CTRexVmInsFixHwCs = types.SimpleNamespace(L4_TYPE_UDP=11)
    modules["trex.astf.api"].ASTFGlobalInfo = Settings
    sys.modules.update(modules)


fake_trex()

import astf_nat44  # noqa: E402
import ndrpdr  # noqa: E402
import stl_nat44  # noqa: E402
from nat44 import Scale  # noqa: E402
from search import Search, ndr_pdr  # noqa: E402


class ScaleTest(unittest.TestCase):
    def test_session_counts_are_those_of_csit(self):
        counts = [Scale(i).sessions for i in range(5)]
        self.assertEqual(counts, [64512, 258048, 1032192, 4128768, 16515072])

    def test_one_outside_address_has_ports_for_1024_hosts(self):
        for i in range(5):
            s = Scale(i)
            self.assertEqual(s.outside_addresses * (65536 - 1024), s.sessions)

    def test_hosts_fit_into_their_private_network(self):
        self.assertEqual(str(Scale(3).last_host), "192.168.255.255")
        self.assertEqual(str(Scale(4).last_host), "172.19.255.255")

    def test_wrong_scale(self):
        for wrong in (-1, 5):
            with self.assertRaises(ValueError):
                Scale(wrong)


class StlTest(unittest.TestCase):
    def stream(self, *tunables):
        return stl_nat44.register().get_streams(direction=0, tunables=tunables)

    def test_visits_every_session_once(self):
        vm = self.stream("--scale", "1")[0].kwargs["packet"].kwargs["vm"]
        host = vm.called("tuple_var")[0][2]
        self.assertEqual(host["limit_flows"], 258048)
        self.assertEqual((host["ip_min"], host["ip_max"]), ("192.168.0.0", "192.168.15.255"))
        self.assertEqual(host["port_max"] - host["port_min"] + 1, 63)
        self.assertEqual(vm.called("var")[0][2]["max_value"], "20.0.15.255")
        self.assertTrue(vm.called("fix_chksum_hw"))

    def test_frame_size_counts_the_fcs(self):
        for size in (64, 128, 1518):
            packet = self.stream("--size", str(size))[0].kwargs["packet"].kwargs["pkt"]
            self.assertEqual(len(packet) + 4, size)

    def test_one_direction_only(self):
        self.assertEqual(stl_nat44.register().get_streams(direction=1, tunables=()), [])


class AstfTest(unittest.TestCase):
    def programs(self, *tunables):
        profile = astf_nat44.register().get_profile(tunables=tunables)
        template = profile.kwargs["templates"].kwargs
        client, server = template["client_template"].kwargs, template["server_template"].kwargs
        return profile, client, client["program"], server["program"]

    def test_udp_packets(self):
        for kind, packets in (("cps", 1), ("tput", 5)):
            _, _, client, server = self.programs("--proto", "udp", "--kind", kind)
            for program in (client, server):
                self.assertEqual(len(program.called("send_msg")), packets)
                self.assertEqual(program.called("recv_msg")[0][1], (packets,))
                self.assertEqual(len(program.called("send_msg")[0][1][0]), 100 - 14 - 20 - 8 - 4)

    def test_tcp_cps_sends_no_data(self):
        _, _, client, server = self.programs("--proto", "tcp", "--kind", "cps")
        self.assertEqual([c[0] for c in client.calls], ["connect"])
        self.assertEqual([c[0] for c in server.calls], ["wait_for_peer_close"])

    def test_tcp_tput_sends_five_segments_each_way(self):
        profile, _, client, server = self.programs("--proto", "tcp", "--kind", "tput", "--size", "1518")
        tcp = profile.kwargs["default_c_glob_info"].tcp
        self.assertEqual((tcp.mss, tcp.initwnd), (1518 - 4 - 14 - 40, 5))
        for program in (client, server):
            self.assertEqual(len(program.called("send")[0][1][0]), 5 * tcp.mss)
            self.assertEqual(program.called("recv")[0][1], (5 * tcp.mss,))

    def test_as_many_sessions_as_the_scale_says(self):
        _, client, _, _ = self.programs("--scale", "4")
        self.assertEqual(client["limit"], 16515072)


class SearchTest(unittest.TestCase):
    def device(self, ndr, pdr):
        """Loses nothing up to ndr, 0.5 % at pdr, more beyond."""
        self.trials = []

        def trial(rate):
            self.trials.append(rate)
            return max(0.0, 0.005 * (rate - ndr) / (pdr - ndr))

        return trial

    def test_finds_both_rates_within_the_interval(self):
        for ndr, pdr in ((3e6, 4e6), (1.0e6, 1.01e6), (9.9e6, 9.95e6), (2e3, 5e6)):
            got_ndr, got_pdr = ndr_pdr(self.device(ndr, pdr), 1e3, 1e7)
            self.assertLessEqual(got_ndr, ndr)
            self.assertGreater(got_ndr, ndr * 0.994)
            self.assertLessEqual(got_pdr, pdr)
            self.assertGreater(got_pdr, pdr * 0.994)
            self.assertEqual(len(self.trials), len(set(self.trials)), "a trial was made twice")
            self.assertLess(len(self.trials), 40)

    def test_more_than_the_link(self):
        self.assertEqual(ndr_pdr(self.device(2e7, 3e7), 1e3, 1e7), (1e7, 1e7))
        self.assertEqual(len(self.trials), 1)

    def test_always_loses(self):
        self.assertEqual(ndr_pdr(lambda rate: 0.5, 1e3, 1e7), (0.0, 0.0))
        self.assertEqual(ndr_pdr(lambda rate: 0.001, 1e3, 1e7), (0.0, 1e7))

    def test_wrong_bounds(self):
        with self.assertRaises(ValueError):
            Search(lambda rate: 0, 10, 10)


class FakeStl:
    """A gateway that forwards a million packets a second."""

    def __init__(self):
        self.sent = self.received = 0

    def clear_stats(self):
        self.sent = self.received = 0

    def start(self, ports, mult, duration):
        rate = int(mult[: -len("pps")])
        self.sent = int(rate * duration)
        self.received = int(min(rate, 1_000_000) * duration)

    def wait_on_traffic(self, ports):
        pass

    def get_stats(self):
        return {0: {"opackets": self.sent}, 1: {"ipackets": self.received}}


class FakeAstf(FakeStl):
    """A gateway that opens 100,000 sessions a second."""

    def start(self, mult, duration):
        self.done = int(min(mult, 100_000) * duration + 0.5)

    def wait_on_traffic(self):
        pass

    def get_stats(self):
        client = {"tcps_connects": self.done}
        return {0: {"ipackets": self.done}, "traffic": {"client": client}, "total": {"ipackets": 10 * self.done}}


class TrialTest(unittest.TestCase):
    def setUp(self):
        ndrpdr.SETTLE = 0

    def search(self, client, trial, *argv):
        args = ndrpdr.parse(argv)
        t = trial(client, args, log=io.StringIO())
        t.ramp_up()
        return args, ndr_pdr(t, args.low, args.high, args.interval)

    def test_stateless(self):
        _, (ndr, pdr) = self.search(FakeStl(), ndrpdr.StlTrial, "stl", "--high", "2e6", "--duration", "1")
        self.assertAlmostEqual(ndr, 1e6, delta=6e3)
        self.assertAlmostEqual(pdr, 1e6, delta=12e3)

    def test_stateful(self):
        for proto in ("udp", "tcp"):
            _, (ndr, pdr) = self.search(FakeAstf(), ndrpdr.AstfTrial, "astf", "--proto", proto, "--high", "5e5")
            self.assertAlmostEqual(ndr, 1e5, delta=6e2)
            self.assertAlmostEqual(pdr, 1e5, delta=12e2)

    def test_throughput_counts_packets(self):
        _, (ndr, _) = self.search(FakeAstf(), ndrpdr.AstfTrial, "astf", "--kind", "tput", "--high", "5e6")
        self.assertAlmostEqual(ndr, 1e6, delta=6e3)

    def test_reset_is_run_before_each_trial_of_cps(self):
        runs = []
        real, subprocess.run = subprocess.run, lambda command, **kwargs: runs.append(command)
        try:
            t = ndrpdr.AstfTrial(FakeAstf(), ndrpdr.parse(["astf", "--high", "1e6", "--reset", "flush"]), io.StringIO())
            t(1e4)
            t(2e4)
        finally:
            subprocess.run = real
        self.assertEqual(runs, ["flush", "flush"])

    def test_records(self):
        args = ndrpdr.parse(["astf", "--proto", "tcp", "--scale", "1", "--high", "1e6"])
        ndr, pdr = ndrpdr.records(args, [(1.0, 10.0), (3.0, 30.0), (2.0, 20.0)])
        self.assertEqual((ndr["median"], ndr["p10"], ndr["p90"], ndr["rounds"]), (2.0, 1.2, 2.8, 3))
        self.assertEqual((pdr["median"], pdr["unit"], pdr["params"]["sessions"]), (20.0, "sessions/s", 258048))


if __name__ == "__main__":
    unittest.main()
