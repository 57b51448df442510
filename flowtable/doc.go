// Package flowtable holds what a worker knows about traffic: flows, found by
// either of their two tuples, their protocol state, their timers, and the
// expectations that helpers announce. It is not a NAT (it stores the reply
// tuple that NAT chose) and it never changes a packet.
//
// # Overview
//
//	Tuple           which flow a packet belongs to, seen from one direction
//	Table           records + index + timers of one worker
//	Tracker         state machines: may a packet start a flow, what does it do to one
//	Expectations    announced flows, shared by all workers
//	Snapshot, Event what other threads see of a flow
//
// # Life cycle of a flow
//
//	Lookup = 0 -> Tracker.Start -> (NAT chooses the reply tuple) -> Insert
//	  -> SetState, AddStatus(StatusConfirmed), Refresh     the flow is live
//	  -> Lookup, Tracker.Advance ...                       once per packet
//	  -> NextExpired | EvictCandidate | OutcomeDestroy     the flow ends
//	  -> events, NAT release -> Remove
//
// A table never removes a flow by itself: its owner does, so that events and
// NAT mappings cannot be forgotten. A flow past its deadline that the sweep
// has not yielded yet is invisible to Lookup and Read; its keys stay taken
// until Remove, which Insert reports as InsertExpired.
//
// # Ownership
//
// A Table belongs to one worker (one thread). Only Read, HighWater, Len, Cap
// and MemoryBytes may be called by others. Expectations are safe everywhere.
//
// # Memory layout
//
// Everything lives in anonymous mappings without Go pointers and is named by
// uint32 indices; index 0 is never handed out and means none.
//
//	index    buckets of one 64-byte line, 12 keys each, load <= 0.80
//	records  one 64-byte line per flow
//	windows  48 bytes per flow, touched by TCP flows only
//	addrs6   one 64-byte line per flow, touched by IPv6 flows only
//	exts     192 bytes for flows with a helper, a master or sequence adjustment
//
// An IPv4 flow costs 64 + 2*64/(12*0.80) = 77.3 bytes, one of TCP 125.3. A hit touches one
// bucket line and one record line, a miss one bucket line (two where keys of
// the bucket have overflowed to their alternative bucket).
//
// # What can be stale
//
// A Ref or an index is valid until Remove; Gen tells a reused record apart.
// A Snapshot is consistent in itself (tuples, state and time-out belong to one
// flow), but the flow may have moved on.
//
// Imports packet only.
package flowtable
