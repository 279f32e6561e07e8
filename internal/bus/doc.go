// Package bus carries assignments, results, verdicts and heartbeats between the coordinator and the probes over NATS, and can run
// the NATS server itself. It is the only package that knows subjects, streams and acknowledgements.
//
//	name          subjects                                         keeps
//	JOBS_<r>      job.<r>.<pool>.<scenario>.<network>.<slot>       an Assignment until its start window is over, at most 2 h
//	RESULTS_<r>   res.<r>.<scenario>                               every Result, 30 days
//	VERDICT       verdict.<r>.<minute>                             one Verdict per region and minute, 40 days
//	ARTEFACTS_<r> object store: <run id>/<file>                    what is kept of runs, where a probe is told to keep it here
//	TOKENS_<r>    token.<r>.<scenario>.<network>.<slot>            what a replication's readers have to know of the write: see bus/relay
//	KV coord      cursor.<r>                                       up to which slot a region has been dispatched
//	              begun.<r>                                        with which slot each of the region's combinations began, gzip'd JSON
//	              alerts                                           how the alerts stand, and what of it is still to be announced, gzip'd JSON
//	              maintenance                                      when slots are left out on purpose, gzip'd JSON
//	AUDIT         audit.<object>                                   what people changed, append-only, 400 days: see bus/audit
//	NOTIFY        notify.<sink>.<alert>, notified.<sink>.<alert>   what is to be told about alerts, and up to where it has been: see bus/outbox
//	KV lease      leader                                           which coordinator leads, and since which term: see bus/lease
//	KV sched      <r>                                              what the region's probes need to go on alone: see bus/plans
//	(core)        hb.<r>.<probe>                                   request and reply, not stored
//	(core)        peer.<r>.<probe>                                 between the probes of a region, not stored: see bus/peers
//	(core)        time.<r>                                         request and reply, not stored: see bus/relay
//
// What happens once is decided by the streams, not by the processes: a job and a verdict are created only where their subject is
// still empty, and cursors and beginnings change only by compare-and-swap. Two coordinators at once, or one that was killed between any two
// steps, therefore do no harm.
//
// Whatever arrives is checked before anybody sees it. A message that does not pass is counted, reported and taken out of the way;
// it is never fatal and never delivered for ever.
package bus
