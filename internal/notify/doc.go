// Package notify tells people of alerts: by way of Alertmanager, PagerDuty and a webhook. The engine decides what an alert is; here it is put into
// words, kept until each sink has it, and ended where it ends.
//
// Each sink, and each replica of Alertmanager, has a queue and a goroutine of its own, so that one that is slow or gone delays no other. What it is
// to be told is put into the outbox first, which outlives the coordinator; the last message there says what the sink believes. All else follows from
// comparing that with the alerts as they are: nothing is said twice, whoever leads and however often an alert is announced, and whatever was not said for
// any reason is said when the alerts are next compared. The messages about one alert are told in their order, each until the sink has it, refuses it, or a
// day has passed; one that fails does not hold up those about other alerts.
//
//	sink          is told of            repeats are known by                         an end is
//	alertmanager  pages and tickets     labels; told again each minute               endsAt, told for 15 minutes
//	pagerduty     pages only            dedup_key, a hash of the labels              resolve
//	webhook       pages and tickets     Idempotency-Key                              status resolved
//
// PagerDuty is told of pages only: a service there wakes somebody for whatever comes, unless it was set up to heed the severity. Tickets wait for working
// hours; Alertmanager or the webhook takes them to where they are worked on. A ticket that rises to a page triggers then.
//
// An alert that is inhibited is told to nobody while it is, and where a sink has been told of it before, that stands.
package notify
