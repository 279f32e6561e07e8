// Package faults is the fault suite: it starts the programs as processes, with a real NATS server between them, kills, stops and cuts them
// off at each numbered step of a run, and looks at the books afterwards. It has tests only.
//
// What is asserted after every fault is the promise: every slot that the schedule makes, told from the scenario files, is in exactly one
// state, told from the streams by a reader of its own; the coordinator's metrics say the same; no run has two results that count; and the
// target, which sees the id of each run in the path that is asked for, was asked at most once for each, but where the fault makes that impossible:
//
//   - a run under way when its probe died was asked for, and counts as invalid, or is done again by a sibling while its window is open;
//   - so is one whose probe was stopped, or cut off, for longer than the bus waits for it (bus.AckWait), though that probe ends it later;
//   - siblings that do not see one another, and have no coordinator, may both do a run: one of the two counts;
//   - where a coordinator returns, or a region's way to it, a run may be ordered by it and by a probe that has not heard of it yet: for as
//     long as a heartbeat takes.
//
// TestFaultsShort is part of all tests. The long form is TestFaults (make faults), and TestSoak injects faults at random for as long as it is
// told to (make soak FOR=30m): its summary of the last such run stands in SOAK.md.
package faults
