// Package resultjson reads the JSON of results several times faster than encoding/json, which would be most of what a coordinator does. It
// is a reader for this one type, and gives the rest to encoding/json: what it reads itself means the same there.
package resultjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
)

// Decode reads a result as json.Unmarshal does into a zero one; the errors are those of encoding/json, and ErrCrowded.
func Decode(body []byte) (runs.Result, error) { return new(Space).Decode(body) }

// Space is memory for the largest part of a result, its requests, that is used again for the next one. The zero value is empty.
type Space struct {
	requests []runs.Request
	phases   []float64
}

// ErrCrowded is the error for a body that is hardly anything but empty values. Each of them would take a hundred times its room in memory, and one
// such message a gigabyte, again and again for as long as it is stored.
var ErrCrowded = errors.New("decode result: got next to nothing but empty values, want a result")

// What is crowded: more than manyValues, of less than leastValue bytes on average. Those of a result take some twenty.
const (
	manyValues = 16_000
	leastValue = 10
)

// crowded counts the commas of a body that are not in its strings.
func crowded(body []byte) bool {
	if bytes.Count(body, []byte{','}) <= manyValues { // as good as always
		return false
	}
	values, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == ',' && !quoted:
			values++
		}
	}
	return values > manyValues && len(body)/values < leastValue
}

// Decode reads a result like the function. Its requests, and what they point to, are in the space, until Decode is called again.
func (s *Space) Decode(body []byte) (runs.Result, error) {
	var r runs.Result
	if crowded(body) {
		return r, ErrCrowded
	}
	d := decoder{in: body, space: s}
	s.phases = s.phases[:0]
	d.result(&r)
	if n := cap(r.Requests); n > 0 && n <= maxRoom {
		s.requests = r.Requests[:0]
	}
	if d.peek(); d.bad || d.at < len(body) {
		r = runs.Result{}
		err := json.Unmarshal(body, &r)
		return r, err
	}
	return r, nil
}

// maxRoom bounds how many requests room is made for before they are read.
const maxRoom = 2000

func (d *decoder) result(r *runs.Result) {
	var link, cache bool
	d.object(func(key []byte) {
		switch string(key) {
		case "schema":
			integer(d, &r.Schema)
		case "run_id":
			text(d, &r.RunID, "")
		case "scenario":
			text(d, &r.Scenario, "")
		case "revision":
			text(d, &r.Revision, "")
		case "region":
			text(d, &r.Region, "")
		case "network":
			text(d, &r.Network, "")
		case "slot":
			d.unmarshal(&r.Slot)
		case "trigger":
			text(d, &r.Trigger, runs.TriggerSchedule)
		case "probe":
			text(d, &r.Probe, "")
		case "autonomous":
			d.boolean(&r.Autonomous)
		case "state":
			text(d, &r.State, runs.StatePassed)
		case "cause":
			pointed(d, &r.Cause, d.cause)
		case "started_at":
			d.unmarshal(&r.StartedAt)
		case "duration_ms":
			d.float(&r.DurationMS)
		case "steps":
			list(d, &r.Steps, make([]runs.Step, 0, 8), d.step)
		case "requests":
			list(d, &r.Requests, d.room(), d.request)
		case "requests_dropped":
			integer(d, &r.Dropped)
		case "cache":
			d.once(&cache)
			d.cache(&r.Cache)
		case "link":
			d.once(&link)
			d.link(&r.Link)
		default:
			d.more(key, r)
		}
	})
}

// more reads what not every result has.
func (d *decoder) more(key []byte, r *runs.Result) {
	switch string(key) {
	case "trace_id":
		text(d, &r.TraceID, "")
	case "replication":
		whole(d, &r.Replication)
	case "clock":
		pointed(d, &r.Clock, d.clock)
	case "navigations":
		list(d, &r.Navigations, nil, d.navigation)
	case "console":
		whole(d, &r.Console)
	case "artefacts":
		whole(d, &r.Artefacts)
	case "artefact_error":
		text(d, &r.ArtefactError, "")
	case "load":
		pointed(d, &r.Load, d.load)
	case "tainted":
		d.texts(&r.Tainted)
	default:
		d.unknown(key)
	}
}

// room is where the requests that come next go. In a new space there is enough for them all: each is three objects.
func (d *decoder) room() []runs.Request {
	if cap(d.space.requests) == 0 {
		return make([]runs.Request, 0, min(maxRoom, bytes.Count(d.in[d.at:], []byte("{"))/3))
	}
	return d.space.requests[:0]
}

// once refuses a second value for a struct: encoding/json would mix the two.
func (d *decoder) once(seen *bool) {
	if *seen {
		d.fail()
	}
	*seen = true
}

func (d *decoder) cause(c *runs.Cause) {
	d.object(func(key []byte) {
		switch string(key) {
		case "class":
			text(d, &c.Class, "")
		case "step":
			text(d, &c.Step, "")
		case "detail":
			text(d, &c.Detail, "")
		default:
			d.unknown(key)
		}
	})
}

func (d *decoder) step(s, before *runs.Step) {
	d.object(func(key []byte) {
		switch string(key) {
		case "id":
			text(d, &s.ID, "")
		case "type":
			text(d, &s.Type, before.Type)
		case "state":
			text(d, &s.State, runs.StepPassed)
		case "cause":
			pointed(d, &s.Cause, d.cause)
		case "started_ms":
			d.float(&s.StartedMS)
		case "duration_ms":
			d.float(&s.DurationMS)
		case "settled_ms":
			d.floatIfAny(&s.SettledMS)
		case "requests":
			integer(d, &s.Requests)
		case "bytes":
			integer(d, &s.Bytes)
		case "selector":
			text(d, &s.Selector, "")
		case "vitals":
			pointed(d, &s.Vitals, d.vitals)
		case "attempts":
			integer(d, &s.Attempts)
		case "warnings":
			d.texts(&s.Warnings)
		case "skipped":
			text(d, &s.Skipped, before.Skipped)
		default:
			d.unknown(key)
		}
	})
}

func (d *decoder) vitals(v *runs.Vitals) {
	d.object(func(key []byte) {
		switch string(key) {
		case "ttfb_ms":
			d.floatIfAny(&v.TTFB)
		case "fcp_ms":
			d.floatIfAny(&v.FCP)
		case "lcp_ms":
			d.floatIfAny(&v.LCP)
		case "cls":
			d.floatIfAny(&v.CLS)
		case "inp_ms":
			d.floatIfAny(&v.INP)
		default:
			d.unknown(key)
		}
	})
}

func (d *decoder) request(q, before *runs.Request) {
	var phases bool
	d.object(func(key []byte) {
		switch string(key) {
		case "step":
			text(d, &q.Step, before.Step)
		case "url":
			text(d, &q.URL, "")
		case "method":
			text(d, &q.Method, before.Method)
		case "status":
			integer(d, &q.Status)
		case "protocol":
			text(d, &q.Protocol, before.Protocol)
		case "remote_addr":
			text(d, &q.RemoteAddr, before.RemoteAddr)
		case "phases":
			d.once(&phases)
			d.phases(&q.Phases)
		case "bytes":
			integer(d, &q.Bytes)
		case "browser_cache":
			text(d, &q.BrowserCache, before.BrowserCache)
		case "cache":
			d.answer(&q.Cache, &before.Cache)
		case "served_region":
			text(d, &q.ServedRegion, before.ServedRegion)
		case "pop":
			text(d, &q.PoP, before.PoP)
		case "warm":
			d.boolean(&q.Warm)
		case "again":
			d.boolean(&q.Again)
		case "exposed":
			text(d, &q.Exposed, before.Exposed)
		case "span_id":
			text(d, &q.SpanID, "")
		case "error":
			text(d, &q.Error, before.Error)
		case "started_ms":
			d.float(&q.StartedMS)
		case "type":
			text(d, &q.Type, before.Type)
		case "from":
			text(d, &q.From, before.From)
		case "redirected_to":
			text(d, &q.RedirectedTo, "")
		default:
			d.unknown(key)
		}
	})
}

func (d *decoder) phases(p *runs.Phases) {
	d.object(func(key []byte) {
		switch string(key) {
		case "blocked_ms":
			d.floatIn(&d.space.phases, &p.Blocked)
		case "dns_ms":
			d.floatIn(&d.space.phases, &p.DNS)
		case "connect_ms":
			d.floatIn(&d.space.phases, &p.Connect)
		case "tls_ms":
			d.floatIn(&d.space.phases, &p.TLS)
		case "send_ms":
			d.floatIn(&d.space.phases, &p.Send)
		case "wait_ms":
			d.floatIn(&d.space.phases, &p.Wait)
		case "receive_ms":
			d.floatIn(&d.space.phases, &p.Receive)
		default:
			d.unknown(key)
		}
	})
}

// answer reads what a cache said, the type's own way.
func (d *decoder) answer(r, before *cachestate.Result) {
	*r = cachestate.Result{}
	d.object(func(key []byte) {
		switch string(key) {
		case "state":
			text(d, &r.State, before.State)
		case "tier":
			text(d, &r.Tier, before.Tier)
		case "vendor":
			text(d, &r.Vendor, before.Vendor)
		case "evidence":
			text(d, &r.Evidence, before.Evidence)
		case "age_seconds":
			if r.Age, r.HasAge = 0, !d.literal("null"); r.HasAge {
				var seconds int64
				integer(d, &seconds)
				r.Age = time.Duration(seconds) * time.Second
			}
		default:
			d.unknown(key)
		}
	})
}

func (d *decoder) cache(c *runs.Cache) {
	d.object(func(key []byte) {
		switch string(key) {
		case "hits":
			integer(d, &c.Hits)
		case "misses":
			integer(d, &c.Misses)
		case "by_state":
			if c.ByState != nil {
				d.fail()
				return
			}
			c.ByState = map[cachestate.State]int{}
			d.object(func(key []byte) {
				var n int
				d.plain(key)
				integer(d, &n)
				c.ByState[cachestate.State(key)] = n
			})
		default:
			d.unknown(key)
		}
	})
}
