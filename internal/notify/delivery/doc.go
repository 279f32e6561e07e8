// Package delivery tells Alertmanager, PagerDuty and a webhook of alerts, each in its own form over HTTP, and says what has become of an attempt.
package delivery

import "time"

// Refusal is the error for what a sink does not want.
type Refusal struct{ Err error }

// Error implements error.
func (r *Refusal) Error() string { return r.Err.Error() }

// Busy is the error for a sink that takes nothing now.
type Busy struct {
	Err   error
	After time.Duration // it wants to be left alone for; 0 = it does not say
}

// Error implements error.
func (b *Busy) Error() string { return b.Err.Error() }

// Unwrap gives what happened.
func (r *Refusal) Unwrap() error { return r.Err }

// Unwrap gives what happened.
func (b *Busy) Unwrap() error { return b.Err }
