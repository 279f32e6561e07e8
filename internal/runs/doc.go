// Package runs defines what travels between the coordinator and the probes: the id of a run, the Assignment that orders it, the
// Result that reports it, the states in which a slot can end and the causes behind them. The JSON field names are the
// contract; within one major schema version fields are only added, and unknown ones are ignored.
//
// The package is pure: it reads no clock and does no I/O.
package runs
