package rules

import (
	"encoding/base64"
	"fmt"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"lastmile/internal/scenario"
	"lastmile/internal/scenario/predicate"
	"lastmile/internal/vars"
)

const (
	maxRetries  = 5
	wantHost    = "a host and a port, such as db.example.com:5432"
	wantBase64  = "bytes in base64 (RFC 4648)"
	maxCertDays = 3650
)

// protocol checks the values of a step that speaks with a server itself.
func (v *stepValidator) protocol() {
	st := v.step
	if bodies := count(st.Body != "", st.BodyBase64 != "", st.JSON != nil, st.Form != nil, st.Multipart != nil); bodies > 1 {
		v.problem(fmt.Sprintf("%d bodies", bodies), "at most one of body, bodyBase64, json, form and multipart")
	}
	v.bytes(st.BodyBase64, "bodyBase64")
	for i, part := range st.Multipart {
		at := []string{"multipart", strconv.Itoa(i)}
		if part.Name == "" {
			v.problem(absent, "the name of the part", append(at, "name")...)
		}
		if part.Value != "" && part.Base64 != "" {
			v.problem("a value and base64", "at most one of them", at...)
		}
		v.bytes(part.Base64, append(at, "base64")...)
	}
	if a := st.Auth; a != nil {
		if count(a.Basic != nil, a.Bearer != "") != 1 {
			v.problem(fmt.Sprintf("%d credentials", count(a.Basic != nil, a.Bearer != "")), "exactly one of basic and bearer", "auth")
		}
		for name := range st.Headers {
			if textproto.CanonicalMIMEHeaderKey(name) == "Authorization" {
				v.problem("auth beside the header "+name, "one of them", "auth")
			}
		}
	}
	if c := st.ClientCert; c != nil && (c.Cert == "" || c.Key == "") {
		v.problem("half a client certificate", "cert and key", "clientCert")
	}
	if st.IPVersion != 0 && st.IPVersion != 4 && st.IPVersion != 6 {
		v.problem(strconv.Itoa(st.IPVersion), "4 or 6", "ipVersion")
	}
	if st.Connection != "" {
		v.oneOf(string(st.Connection), []string{string(scenario.ConnectionKept), string(scenario.ConnectionFresh)}, v.at("connection")...)
	}
	if st.Retries < 0 || st.Retries > maxRetries || st.Retries > 0 && st.Poll != nil {
		v.problem(strconv.Itoa(st.Retries), fmt.Sprintf("0 to %d, and none on a step that polls", maxRetries), "retries")
	}
	if st.Record != "" {
		v.oneOf(string(st.Record), names(scenario.Records()), v.at("record")...)
	}
	if address := st.Record == "" || st.Record == scenario.RecordA || st.Record == scenario.RecordAAAA; !address && st.Server == "" {
		v.problem(string(st.Record)+" without server", "server, a host and a port: the network's own resolver answers A and AAAA only", "record")
	}
	if scheme, _, ok := strings.Cut(st.URL, "://"); st.Type == scenario.StepWebSocket && ok && scheme != "ws" && scheme != "wss" && !strings.Contains(scheme, "$") {
		v.problem(strconv.Quote(scheme), "a URL that begins with ws:// or wss://", "url")
	}
	v.hostPort(st.Address, "address")
	v.hostPort(st.Server, "server")
}

// hostPort checks an address, unless it is one that only the run knows.
func (v *stepValidator) hostPort(text string, key string) {
	if names, err := vars.References(text); text == "" || err != nil || len(names) > 0 {
		return
	}
	if colon := strings.LastIndexByte(text, ':'); colon <= 0 || colon == len(text)-1 {
		v.problem(strconv.Quote(text), wantHost, key)
	}
}

// bytes checks that a text is base64.
func (v *stepValidator) bytes(text string, path ...string) {
	if _, err := base64.StdEncoding.DecodeString(text); err != nil {
		v.problem(strconv.Quote(text), wantBase64, path...)
	}
}

// protocolTemplates checks the texts in which ${...} may stand.
func (v *stepValidator) protocolTemplates() {
	st := v.step
	for i, part := range st.Multipart {
		v.template(part.Value, true, "multipart", strconv.Itoa(i), "value")
		v.template(part.Filename, false, "multipart", strconv.Itoa(i), "filename")
	}
	if a := st.Auth; a != nil {
		v.template(a.Bearer, true, "auth", "bearer")
		if a.Basic != nil {
			v.template(a.Basic.User, true, "auth", "basic", "user")
			v.template(a.Basic.Password, true, "auth", "basic", "password")
		}
	}
	if c := st.ClientCert; c != nil {
		v.template(c.Cert, true, "clientCert", "cert")
		v.template(c.Key, true, "clientCert", "key")
	}
	v.template(st.Send, true, "send")
	v.template(st.Address, false, "address")
	v.template(st.ServerName, false, "serverName")
	v.template(st.Service, false, "service")
	v.template(st.Server, false, "server")
	if st.Type == scenario.StepDNS {
		v.template(st.Name, false, "name")
	}
}

// answers checks the subjects that look at an answer as a whole.
func (v *stepValidator) answers(a *scenario.Assertion, path []string) {
	v.expr(a.Expr, true, append(slices.Clone(path), "expr")...)
	if a.Measure != "" {
		v.oneOf(string(a.Measure), names(scenario.Measures()), v.at(append(slices.Clone(path), "measure")...)...)
		if a.AtLeast == nil && a.AtMost == nil {
			v.problem("measure "+string(a.Measure)+" alone", "atLeast, atMost or both with it", path...)
		}
	}
	if d := a.CertDays; d != nil && (*d < 0 || *d > maxCertDays) {
		v.problem(strconv.Itoa(*d), fmt.Sprintf("days, 0 to %d", maxCertDays), append(slices.Clone(path), "certDays")...)
	}
	if a.Schema != nil {
		if _, err := predicate.NewSchema(a.Schema); err != nil {
			v.problem(err.Error(), "a JSON Schema (draft 2020-12) without references to other files", append(slices.Clone(path), "schema")...)
		}
	}
}

// expr checks an expression; one that is boolean is asserted.
func (v *stepValidator) expr(text string, boolean bool, path ...string) {
	if text == "" {
		return
	}
	if _, err := predicate.NewExpression(text, boolean); err != nil {
		v.problem(err.Error(), "an expression such as status == 200 && len(json.items) > 0", path...)
	}
}
