package dataplane

import "time"

// Stage is a part of runBurst whose time StagedBurst tells.
type Stage uint8

// The stages, in the order of runBurst. StageRX includes the clock and the
// routing snapshot, StageExpire what is held for neighbours.
const (
	StageRX Stage = iota
	StageParse
	StageSteer
	StageLookup
	StageTrack
	StageHelp
	StageTranslate
	StageForward
	StageTX
	StageExpire
	StageMail
	NumStages = iota
)

// String returns the stage's name in docs/architecture.md.
func (s Stage) String() string {
	return [NumStages]string{"rx", "parse", "steer", "lookup", "track", "help", "translate", "forward", "tx", "expire", "mail"}[s]
}

// StageTimes is how long each stage of one burst took. The clock reads, one a
// stage, are part of it.
type StageTimes [NumStages]time.Duration

// Total is how long the burst took.
func (t *StageTimes) Total() time.Duration {
	total := time.Duration(0)
	for _, d := range t {
		total += d
	}
	return total
}

// StagedBurst does what Burst does, and reads the clock between the stages. It
// calls each after each burst, with the number of packets and the times.
func (m *Memory) StagedBurst(worker int, each func(packets int, times *StageTimes)) int {
	w, n := m.workers[worker], 0
	s := &stopwatch{began: time.Now()}
	one := func(q *rxQueue) {
		*s = stopwatch{began: s.began, last: time.Since(s.began)}
		taken := w.stagedBurst(q, s)
		each(taken, &s.times)
		n += taken
	}
	for p := range w.ports {
		for q := range w.ports[p].queues {
			one(&w.ports[p].queues[q])
		}
	}
	if len(w.edge.peers) > 1 {
		one(nil)
	}
	return n
}

// stopwatch sums up the time of each stage.
type stopwatch struct {
	began time.Time     // carries the monotonic reading
	last  time.Duration // since began, of the last lap
	times StageTimes
}

// lap adds the time since the last lap to a stage.
func (s *stopwatch) lap(stage Stage) {
	now := time.Since(s.began)
	s.times[stage] += now - s.last
	s.last = now
}

// stagedBurst is runBurst with laps. TestStagedBurstIsRunBurst holds it to
// that: but for the laps, the statements are the same.
func (w *Worker) stagedBurst(q *rxQueue, s *stopwatch) int {
	b := &w.burst
	w.clock.tick()
	w.routes.now = w.routes.mirror.Snapshot()
	if w.receive(b, q) > 0 {
		s.lap(StageRX)
		w.parse(b)
		s.lap(StageParse)
		w.steer(b, q)
		s.lap(StageSteer)
		w.lookup(b)
		s.lap(StageLookup)
		w.track(b)
		s.lap(StageTrack)
		w.help(b)
		s.lap(StageHelp)
		w.translate(b)
		s.lap(StageTranslate)
		w.forward(b)
		s.lap(StageForward)
		w.transmit(b)
		s.lap(StageTX)
	} else {
		s.lap(StageRX)
	}
	w.expire(b.n)
	s.lap(StageExpire)
	w.readMail()
	s.lap(StageMail)
	return b.n
}
