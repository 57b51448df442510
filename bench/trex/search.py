"""The search for the highest rate that loses at most a share of the packets.

RFC 2544 section 26.1, by bisection. One search gives both rates of a device:
its non-drop rate (NDR, nothing lost) and its partial drop rate (PDR, 0.5 %).
"""

NDR = 0.0
PDR = 0.005
# The search ends when lower and upper bound are this close together.
INTERVAL = 0.005


class Search:
    """Trials at rates from low to high, none of them made twice.

    trial(rate) sends and returns the share that was lost, from 0 to 1.
    """

    def __init__(self, trial, low, high, interval=INTERVAL):
        if not 0 < low < high:
            raise ValueError("rates from %g to %g: want 0 < low < high" % (low, high))
        self.trial, self.low, self.high, self.interval = trial, low, high, interval
        self.losses = {}

    def loss(self, rate):
        """The share lost at a rate."""
        if rate not in self.losses:
            self.losses[rate] = self.trial(rate)
        return self.losses[rate]

    def highest(self, allowed):
        """The highest rate that loses no more than allowed, 0.0 if none does.

        What trials for another allowed share have told is used: the bounds are
        the lowest rate that lost too much and the highest one below it that did
        not.
        """
        if self.loss(self.high) <= allowed:
            return self.high
        if self.loss(self.low) > allowed:
            return 0.0
        upper = min(r for r, lost in self.losses.items() if lost > allowed)
        lower = max(r for r, lost in self.losses.items() if r < upper and lost <= allowed)
        while (upper - lower) / upper > self.interval:
            middle = (lower + upper) / 2
            if self.loss(middle) <= allowed:
                lower = middle
            else:
                upper = middle
        return lower


def ndr_pdr(trial, low, high, interval=INTERVAL):
    """Both rates; the one with loss first, since it leaves narrower bounds."""
    search = Search(trial, low, high, interval)
    pdr = search.highest(PDR)
    return search.highest(NDR), pdr
