package records

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"lastmile/internal/scenario"
)

// Whatever a server sends, reading it ends, gives a bounded reply of the type that was asked for, and the same twice.
func FuzzRead(f *testing.F) {
	query := new(dns.Msg)
	query.SetQuestion("example.test.", dns.TypeTXT)
	query.Id = 7
	for _, texts := range [][]string{
		nil, {`example.test. 30 IN TXT "a" "b"`}, {"example.test. 1 IN CNAME other.test.", `other.test. 2 IN TXT "c"`},
		{"example.test. 1 IN CNAME example.test."}, {"example.test. 1 IN MX 1 a.test.", "example.test. 1 IN SRV 1 2 3 a.test.", "example.test. 1 IN AAAA ::1"},
	} {
		m := new(dns.Msg)
		m.SetReply(query)
		for _, text := range texts {
			rr, err := dns.NewRR(text)
			if err != nil {
				f.Fatal(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		for _, truncated := range []bool{false, true} {
			m.Truncated = truncated
			packed, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(packed, dns.TypeTXT)
			f.Add(packed[:len(packed)-1], dns.TypeTXT)
		}
	}
	f.Add([]byte("\x00\x07\x80\x00\x00\x01\xff\xff\x00\x00\x00\x00\xc0\x0c\x00\x10\x00\x01"), dns.TypeTXT)
	f.Fuzz(func(t *testing.T, packet []byte, kind uint16) {
		q := query.Copy()
		q.Question[0].Qtype = kind
		got, err := Read(packet, q)
		again, errAgain := Read(packet, q)
		if (got == nil) != (err != nil) || (err == nil) != (errAgain == nil) {
			t.Fatalf("got %+v and %v, then %v, want a reply or an error, the same twice", got, err, errAgain)
		}
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") || errors.Is(err, ErrForeign) != errors.Is(errAgain, ErrForeign) {
				t.Errorf("got error %q and then %q, want one line, the same twice", err, errAgain)
			}
			return
		}
		if len(packet) < headerSize || packet[0] != 0 || packet[1] != 7 || packet[2]&0x80 == 0 {
			t.Errorf("got a reply of %x, want none: its id is another, or it is no response", packet)
		}
		body, err := got.Body()
		if err != nil || !json.Valid(body) || len(got.Records) > maxRecords {
			t.Errorf("got %d records, body %q and %v, want JSON of %d at most", len(got.Records), body, err, maxRecords)
		}
		if body2, _ := again.Body(); string(body) != string(body2) {
			t.Errorf("got %s and then %s, want the same twice", body, body2)
		}
		if len(got.Records) == 0 && got.Refusal(scenario.RecordTXT) == "" || got.TTL == nil != (len(got.Records) == 0) {
			t.Errorf("got %+v, want a refusal of what has no records", got)
		}
	})
}
