// Package records reads what a DNS server answers. The bytes are the server's, or of whoever pretends to be it.
package records

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"lastmile/internal/scenario"
)

// Reply is what a DNS server answered.
type Reply struct {
	Name      string   `json:"name"`
	Record    string   `json:"record"`
	Records   []string `json:"records"`
	TTL       *uint32  `json:"ttl,omitempty"` // seconds, the least of the records'; nil = not known
	Truncated bool     `json:"-"`             // it did not fit: the same is to be asked over TCP

	code int
}

// maxRecords bounds the records of an answer: 64 KB hold some thousands.
const maxRecords = 1000

// ErrForeign is in the error of a packet that is no answer to the query: another one's, or forged.
var ErrForeign = errors.New("not an answer to the query")

// Read reads a packet that came in answer to a query. Whatever it is, the result is bounded. An error wraps ErrForeign, or says why the
// answer cannot be read.
func Read(packet []byte, query *dns.Msg) (*Reply, error) {
	var m dns.Msg
	err := m.Unpack(packet)
	if err != nil && len(packet) < headerSize || m.Id != query.Id || !m.Response {
		return nil, ErrForeign
	}
	if err != nil && !m.Truncated { // one that is cut off may be cut off anywhere
		return nil, fmt.Errorf("parse answer: %w", err)
	}
	asked := query.Question[0]
	if len(m.Question) == 1 && (m.Question[0].Qtype != asked.Qtype || m.Question[0].Qclass != asked.Qclass || !sameName(m.Question[0].Name, asked.Name)) {
		return nil, ErrForeign
	}
	if len(m.Question) > 1 || len(m.Question) == 0 && m.Rcode == dns.RcodeSuccess {
		return nil, ErrForeign
	}
	r := &Reply{code: m.Rcode, Truncated: m.Truncated, Records: []string{}}
	r.collect(m.Answer, asked)
	return r, nil
}

// headerSize is that of a DNS message (RFC 1035, section 4.1.1).
const headerSize = 12

// sameName compares names as DNS does (RFC 4343).
func sameName(a, b string) bool { return dns.CanonicalName(a) == dns.CanonicalName(b) }

// collect takes the records that answer the question: those of the type that belong to the name, or to the one that it is an alias of.
func (r *Reply) collect(answers []dns.RR, asked dns.Question) {
	aliases := map[string]string{}
	if asked.Qtype != dns.TypeCNAME {
		for _, rr := range answers {
			if alias, ok := rr.(*dns.CNAME); ok {
				aliases[dns.CanonicalName(alias.Hdr.Name)] = dns.CanonicalName(alias.Target)
			}
		}
	}
	owners, owner := map[string]bool{}, dns.CanonicalName(asked.Name)
	for !owners[owner] && owner != "" { // each once: aliases may lead round in a circle
		owners[owner] = true
		owner = aliases[owner]
	}
	for _, rr := range answers {
		header := rr.Header()
		value, ok := recordText(rr)
		if !ok || header.Rrtype != asked.Qtype || header.Class != asked.Qclass || !owners[dns.CanonicalName(header.Name)] || len(r.Records) == maxRecords {
			continue
		}
		r.Records = append(r.Records, value)
		if r.TTL == nil || header.Ttl < *r.TTL {
			r.TTL = &header.Ttl
		}
	}
}

// recordText is a record as people write it: names without the dot at their end.
func recordText(rr dns.RR) (string, bool) {
	name := func(text string) string { return strings.TrimSuffix(text, ".") }
	switch v := rr.(type) {
	case *dns.A:
		return v.A.String(), len(v.A) > 0
	case *dns.AAAA:
		return v.AAAA.String(), len(v.AAAA) > 0
	case *dns.CNAME:
		return name(v.Target), true
	case *dns.NS:
		return name(v.Ns), true
	case *dns.MX:
		return strconv.Itoa(int(v.Preference)) + " " + name(v.Mx), true
	case *dns.SRV:
		return fmt.Sprintf("%d %d %d %s", v.Priority, v.Weight, v.Port, name(v.Target)), true
	case *dns.TXT:
		return strings.Join(v.Txt, ""), true
	}
	return "", false
}

// Body is the reply as the JSON that assertions look at.
func (r *Reply) Body() ([]byte, error) { return json.Marshal(r) }

// Refusal is what a reply without records says; "" where it has some.
func (r *Reply) Refusal(record scenario.Record) string {
	switch {
	case r.code == dns.RcodeNameError:
		return "no such host"
	case r.code == dns.RcodeServerFailure:
		return "server misbehaving"
	case r.code != dns.RcodeSuccess:
		if text, ok := dns.RcodeToString[r.code]; ok {
			return "the server answered " + text
		}
		return fmt.Sprintf("the server answered code %d", r.code)
	case len(r.Records) == 0:
		return fmt.Sprintf("no record of type %s", record)
	}
	return ""
}
