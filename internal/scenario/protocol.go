package scenario

import "time"

// Connection says which connection carries an http step.
type Connection string

// The choices. The zero value means ConnectionKept.
const (
	ConnectionKept  Connection = "kept"  // one that an earlier step left open, where there is one: as apps do
	ConnectionFresh Connection = "fresh" // one of its own, with look-up, connect and TLS
)

// Record is the type of DNS record that is asked for. The zero value means RecordA.
type Record string

// The types of DNS records.
const (
	RecordA     Record = "A"
	RecordAAAA  Record = "AAAA"
	RecordCNAME Record = "CNAME"
	RecordMX    Record = "MX"
	RecordNS    Record = "NS"
	RecordSRV   Record = "SRV"
	RecordTXT   Record = "TXT"
)

// Records lists the types of DNS records in documentation order.
func Records() []Record {
	return []Record{RecordA, RecordAAAA, RecordCNAME, RecordMX, RecordNS, RecordSRV, RecordTXT}
}

// Measure is a number that every answer has.
type Measure string

// The measures: sizes in bytes, the others in milliseconds. The phases are those of the answer's own request.
const (
	MeasureSize     Measure = "size"     // of the decoded body
	MeasureDuration Measure = "duration" // from the step's first attempt to the end of the answer
	MeasureDNS      Measure = "dns"
	MeasureConnect  Measure = "connect"
	MeasureTLS      Measure = "tls"
	MeasureWait     Measure = "wait"
	MeasureReceive  Measure = "receive"
)

// Measures lists the measures in documentation order.
func Measures() []Measure {
	return []Measure{MeasureSize, MeasureDuration, MeasureDNS, MeasureConnect, MeasureTLS, MeasureWait, MeasureReceive}
}

// Part is one part of a multipart/form-data body. At most one of Value and Base64 is set.
type Part struct {
	Name        string `json:"name"`
	Value       string `json:"value,omitempty"`
	Base64      string `json:"base64,omitempty"`      // bytes
	Filename    string `json:"filename,omitempty"`    // makes it a file
	ContentType string `json:"contentType,omitempty"` // default text/plain for values, application/octet-stream for files
}

// Auth is the Authorization header of a request. Exactly one field is set.
type Auth struct {
	Basic  *Basic `json:"basic,omitempty"`
	Bearer string `json:"bearer,omitempty"` // the token
}

// Basic holds the credentials of HTTP Basic authentication.
type Basic struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// ClientCert is what a step shows of itself to a server that asks (mutual TLS). Both are PEM, the key by way of a secret.
type ClientCert struct {
	Cert string `json:"cert"` // the certificate, its chain after it
	Key  string `json:"key"`
}

// Replication is what a scenario of KindReplication has beside its steps. The runs in the region From write; those in the other regions
// read: they carry out the scenario's steps again and again until all of them pass.
type Replication struct {
	From          string   `json:"from"`
	Write         []Step   `json:"write"`
	Pass          []string `json:"pass"`            // variables that the write steps extract, and the readers are given
	VisibleWithin Duration `json:"visibleWithin"`   // the threshold of SLI freshness; what takes longer degrades the run
	Every         Duration `json:"every,omitempty"` // from one look to the next; default 100 ms
	Watch         Duration `json:"watch,omitempty"` // how long readers go on looking when the write is visible; default 1 s
}

// WatchTime is how long readers go on looking when the write is visible.
func (r *Replication) WatchTime() time.Duration {
	if r.Watch == 0 {
		return time.Second
	}
	return r.Watch.D()
}

// LookTime is the time from one look to the next.
func (r *Replication) LookTime() time.Duration {
	if r.Every == 0 {
		return 100 * time.Millisecond
	}
	return r.Every.D()
}

// Identity is one of the two that the steps of a scenario of KindCacheLeak are run as, each with cookies and connections of its own.
type Identity struct {
	Name   string            `json:"name"`
	Vars   map[string]string `json:"vars,omitempty"` // in place of the scenario's; they may be secrets
	Canary string            `json:"canary"`         // what nobody else may see: a secret, or what the steps extract
}
