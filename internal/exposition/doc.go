// Package exposition is what the programs tell Prometheus: the catalogue of metrics, and /metrics, /healthz and /readyz.
//
// Most numbers are read from the ledger, the evaluation and the fleet when a scrape comes, in one pass; only what they do not keep (durations
// by bucket, recent durations of steps and web vitals, phases, bytes, failed steps, lags, confirmations) is counted here, in meters. Every
// counter is there from the start with the value 0, because a counter that is born at 1 has an increase of 0 and hides the first failure. The
// label values that a target or a probe can choose are bounded, and a cap on the number of series counts what it leaves out: what pages is
// left out last.
package exposition
