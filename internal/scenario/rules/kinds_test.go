package rules

import (
	"slices"
	"testing"
	"time"

	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// The steps of soundProtocols.
const (
	form = iota
	raw
	tcp
	tls
	dns
	grpc
	socket
)

func TestValidateProtocols(t *testing.T) {
	step := func(i int, change func(*scenario.Step)) func(*scenario.Scenario) {
		return func(s *scenario.Scenario) { change(&s.Steps[i]) }
	}
	assert := func(i, j int, change func(*scenario.Assertion)) func(*scenario.Scenario) {
		return func(s *scenario.Scenario) { change(&s.Steps[i].Assert[j]) }
	}
	extract := func(i int, x scenario.Extractor) func(*scenario.Scenario) {
		return func(s *scenario.Scenario) {
			if s.Steps[i].Extract == nil {
				s.Steps[i].Extract = map[string]scenario.Extractor{}
			}
			s.Steps[i].Extract["x"] = x
		}
	}
	checkAll(t, soundProtocols, []change{
		{"three bodies", step(form, func(s *scenario.Step) { s.Body, s.BodyBase64 = "x", "aGk=" }), []string{"steps.0"}},
		{"body that is not base64", step(raw, func(s *scenario.Step) { s.BodyBase64 = "hi!" }), []string{"steps.1.bodyBase64"}},
		{"part without a name", step(form, func(s *scenario.Step) { s.Multipart[0].Name = "" }), []string{"steps.0.multipart.0.name"}},
		{"part of two values", step(form, func(s *scenario.Step) { s.Multipart[1].Value = "x" }), []string{"steps.0.multipart.1"}},
		{"part that is not base64", step(form, func(s *scenario.Step) { s.Multipart[1].Base64 = "x" }), []string{"steps.0.multipart.1.base64"}},
		{"template in a part", step(form, func(s *scenario.Step) { s.Multipart[0].Value = "${nope}" }), []string{"steps.0.multipart.0.value"}},
		{"secret in a file's name", step(form, func(s *scenario.Step) { s.Multipart[1].Filename = "${secrets.TOKEN}" }), []string{"steps.0.multipart.1.filename"}},
		{"two credentials", step(form, func(s *scenario.Step) { s.Auth.Bearer = "x" }), []string{"steps.0.auth"}},
		{"no credentials", step(raw, func(s *scenario.Step) { s.Auth.Bearer = "" }), []string{"steps.1.auth"}},
		{"credentials twice", step(raw, func(s *scenario.Step) { s.Headers = map[string]string{"AUTHORIZATION": "x"} }), []string{"steps.1.auth"}},
		{"template in a user", step(form, func(s *scenario.Step) { s.Auth.Basic.User = "${nope}" }), []string{"steps.0.auth.basic.user"}},
		{"template in a password", step(form, func(s *scenario.Step) { s.Auth.Basic.Password = "${nope}" }), []string{"steps.0.auth.basic.password"}},
		{"template in a token", step(raw, func(s *scenario.Step) { s.Auth.Bearer = "${nope}" }), []string{"steps.1.auth.bearer"}},
		{"half a certificate", step(tls, func(s *scenario.Step) { s.ClientCert = &scenario.ClientCert{Key: "${secrets.KEY}"} }), []string{"steps.3.clientCert"}},
		{"template in a certificate", step(tls, func(s *scenario.Step) { s.ClientCert = &scenario.ClientCert{Cert: "${nope}", Key: "${nix}"} }), []string{"steps.3.clientCert.cert", "steps.3.clientCert.key"}},
		{"family of addresses", step(raw, func(s *scenario.Step) { s.IPVersion = 5 }), []string{"steps.1.ipVersion"}},
		{"connection", step(raw, func(s *scenario.Step) { s.Connection = "new" }), []string{"steps.1.connection"}},
		{"too many retries", step(form, func(s *scenario.Step) { s.Retries = maxRetries + 1 }), []string{"steps.0.retries"}},
		{"retries below zero", step(form, func(s *scenario.Step) { s.Retries = -1 }), []string{"steps.0.retries"}},
		{"retries of a poll", step(form, func(s *scenario.Step) { s.Poll = &scenario.Poll{Every: 1, For: 2} }), []string{"steps.0.retries"}},
		{"no address", step(tcp, func(s *scenario.Step) { s.Address = "" }), []string{"steps.2.address"}},
		{"address without a port", step(tls, func(s *scenario.Step) { s.Address = "shop.example.com" }), []string{"steps.3.address"}},
		{"address without a host", step(grpc, func(s *scenario.Step) { s.Address = ":443" }), []string{"steps.5.address"}},
		{"template in an address", step(tcp, func(s *scenario.Step) { s.Address = "${nope}:1" }), []string{"steps.2.address"}},
		{"template in what is sent", step(socket, func(s *scenario.Step) { s.Send = "${nope}" }), []string{"steps.6.send"}},
		{"secret in a server's name", step(grpc, func(s *scenario.Step) { s.ServerName = "${secrets.KEY}" }), []string{"steps.5.serverName"}},
		{"secret in a service", step(grpc, func(s *scenario.Step) { s.Service = "${secrets.KEY}" }), []string{"steps.5.service"}},
		{"tls where it is implied", step(tls, func(s *scenario.Step) { s.TLS = true }), []string{"steps.3.tls"}},
		{"record", step(dns, func(s *scenario.Step) { s.Record = "ANY" }), []string{"steps.4.record"}},
		{"no name to ask for", step(dns, func(s *scenario.Step) { s.Name = "" }), []string{"steps.4.name"}},
		{"template in a name", step(dns, func(s *scenario.Step) { s.Name = "${nope}" }), []string{"steps.4.name"}},
		{"server without a port", step(dns, func(s *scenario.Step) { s.Server = "192.0.2.1" }), []string{"steps.4.server"}},
		{"template in a server", step(dns, func(s *scenario.Step) { s.Server = "${nope}:53" }), []string{"steps.4.server"}},
		{"bytes to a socket", step(socket, func(s *scenario.Step) { s.BodyBase64 = "aGk=" }), []string{"steps.6.bodyBase64"}},
		{"when a page on tcp", step(tcp, func(s *scenario.Step) { s.When = &scenario.Condition{URL: "*"} }), []string{"steps.2.when.url"}},

		{"cookie as a number", assert(form, 0, func(a *scenario.Assertion) { a.Matches, a.AtLeast = "", new(1.0) }), []string{"steps.0.assert.0"}},
		{"cookie of a socket", assert(socket, 0, func(a *scenario.Assertion) { *a = scenario.Assertion{Cookie: "x"} }), []string{"steps.6.assert.0.cookie"}},
		{"expression", assert(form, 1, func(a *scenario.Assertion) { a.Expr = "status ==" }), []string{"steps.0.assert.1.expr"}},
		{"expression compared", assert(form, 1, func(a *scenario.Assertion) { a.Contains = "x" }), []string{"steps.0.assert.1"}},
		{"measure", assert(form, 2, func(a *scenario.Assertion) { a.Measure = "speed" }), []string{"steps.0.assert.2.measure"}},
		{"measure of nothing", assert(form, 2, func(a *scenario.Assertion) { a.AtLeast, a.AtMost = nil, nil }), []string{"steps.0.assert.2"}},
		{"measure as a text", assert(form, 2, func(a *scenario.Assertion) {
			*a = scenario.Assertion{Measure: scenario.MeasureSize, Equals: textOf("1")}
		}), []string{"steps.0.assert.2", "steps.0.assert.2"}},
		{"days that have been", assert(form, 3, func(a *scenario.Assertion) { a.CertDays = new(-1) }), []string{"steps.0.assert.3.certDays"}},
		{"days without end", assert(tls, 0, func(a *scenario.Assertion) { a.CertDays = new(maxCertDays + 1) }), []string{"steps.3.assert.0.certDays"}},
		{"days of a socket", assert(socket, 0, func(a *scenario.Assertion) { *a = scenario.Assertion{CertDays: new(1)} }), []string{"steps.6.assert.0.certDays"}},
		{"schema", assert(form, 4, func(a *scenario.Assertion) { a.Schema = map[string]any{"type": "nothing"} }), []string{"steps.0.assert.4.schema"}},
		{"schema of another file", assert(form, 4, func(a *scenario.Assertion) { a.Schema = map[string]any{"$ref": "other.json"} }), []string{"steps.0.assert.4.schema"}},
		{"schema of another server", assert(form, 4, func(a *scenario.Assertion) { a.Schema = map[string]any{"$ref": "https://example.com/x.json"} }), []string{"steps.0.assert.4.schema"}},
		{"body of a handshake", assert(tls, 0, func(a *scenario.Assertion) { *a = scenario.Assertion{Body: "x"} }), []string{"steps.3.assert.0.body"}},
		{"status of a socket", assert(socket, 0, func(a *scenario.Assertion) { *a = scenario.Assertion{Status: scenario.StatusSet{"101"}} }), []string{"steps.6.assert.0.status"}},

		{"extract of two sources", extract(form, scenario.Extractor{Cookie: "a", Expr: "status"}), []string{"steps.0.extract.x"}},
		{"extract of an expression", extract(form, scenario.Extractor{Expr: "("}), []string{"steps.0.extract.x.expr"}},
		{"extract of a header of a record", extract(dns, scenario.Extractor{Header: "X"}), []string{"steps.4.extract.x"}},

		{"JSONPath of the region", func(s *scenario.Scenario) { s.Routing.JSON = "region" }, []string{"routing.json"}},
		{"networks of the region", func(s *scenario.Scenario) {
			s.Routing.JSON, s.Routing.Addresses = "", map[string][]string{"eu": {"192.0.2.0/24", "10.0.0.0/33"}}
		}, []string{"routing.addresses.eu.1"}},
		{"freshness of a journey", func(s *scenario.Scenario) {
			s.SLOs = []scenario.SLO{{Name: "fresh", SLI: scenario.SLIFreshness, Objective: 0.95, Window: slo.Window(time.Hour)}}
		}, []string{"slos.0.sli"}},
	})
}

func TestValidateReplication(t *testing.T) {
	on := func(change func(*scenario.Replication)) func(*scenario.Scenario) {
		return func(s *scenario.Scenario) { change(s.Replication) }
	}
	const second = scenario.Duration(time.Second)
	checkAll(t, soundReplication, []change{
		{"kind of another", func(s *scenario.Scenario) { s.Kind, s.SLOs = "", nil }, []string{"kind"}},
		{"kind alone", func(s *scenario.Scenario) { s.Replication = nil }, []string{"kind", "steps.0.url", "secrets.0"}},
		{"in all regions", func(s *scenario.Scenario) { s.Regions = scenario.Strings{"all"} }, nil},
		{"from where nothing runs", on(func(r *scenario.Replication) { r.From = "apac" }), []string{"replication.from"}},
		{"from nowhere, in all regions", func(s *scenario.Scenario) { s.Regions, s.Replication.From = scenario.Strings{"all"}, "mars" }, []string{"replication.from"}},
		{"nobody to read", func(s *scenario.Scenario) { s.Regions = scenario.Strings{"us"} }, []string{"replication.from"}},
		{"a look in a browser", func(s *scenario.Scenario) { s.Steps = []scenario.Step{{Type: scenario.StepNavigate, URL: "x"}} }, []string{"steps"}},
		{"a write in a browser", on(func(r *scenario.Replication) {
			r.Write = append(r.Write, scenario.Step{Type: scenario.StepNavigate, URL: "x"})
		}), []string{"replication.write.2.type"}},
		{"no write", on(func(r *scenario.Replication) { r.Write, r.Pass = nil, nil }), []string{"replication.write", "steps.0.url", "secrets.0"}},
		{"too many writes", on(func(r *scenario.Replication) {
			r.Write = append(r.Write, slices.Repeat([]scenario.Step{{Type: scenario.StepHTTP, URL: "x"}}, maxSteps)...)
		}), []string{"replication.write"}},
		{"a write's problem", on(func(r *scenario.Replication) { r.Write[0].Method = "post" }), []string{"replication.write.0.method"}},
		{"a name twice", func(s *scenario.Scenario) { s.Steps[0].ID = "put" }, []string{"steps.0.id"}},
		{"pass what nobody extracts", on(func(r *scenario.Replication) { r.Pass = append(r.Pass, "total") }), []string{"replication.pass.1"}},
		{"pass what everybody has", on(func(r *scenario.Replication) { r.Pass = append(r.Pass, "region") }), []string{"replication.pass.1"}},
		{"what is not passed", func(s *scenario.Scenario) { s.Steps[0].URL = "https://x.example.com/${own}" }, []string{"steps.0.url"}},
		{"no threshold", on(func(r *scenario.Replication) { r.VisibleWithin = 0 }), []string{"replication.visibleWithin"}},
		{"threshold of the whole", on(func(r *scenario.Replication) { r.VisibleWithin = 29 * second }), []string{"replication.visibleWithin"}},
		{"a cleaning up of nothing", on(func(r *scenario.Replication) { r.Write[0].Always = true }), []string{"replication.write"}},
		{"looks too often", on(func(r *scenario.Replication) { r.Every = second / 101 }), []string{"replication"}},
		{"looks as often as may be", on(func(r *scenario.Replication) { r.Every = second / 100 }), nil},
		{"a watch below zero", on(func(r *scenario.Replication) { r.Watch = -1 }), []string{"replication"}},
		{"looks below zero", on(func(r *scenario.Replication) { r.Every = -1 }), []string{"replication"}},
		{"default times", on(func(r *scenario.Replication) { r.Every, r.Watch = 0, 0 }), nil},
	})
}

func TestValidateLeak(t *testing.T) {
	on := func(i int, change func(*scenario.Identity)) func(*scenario.Scenario) {
		return func(s *scenario.Scenario) { change(&s.Identities[i]) }
	}
	checkAll(t, soundLeak, []change{
		{"kind of another", func(s *scenario.Scenario) { s.Kind = "" }, []string{"kind"}},
		{"one identity", func(s *scenario.Scenario) { s.Identities, s.Secrets = s.Identities[:1], s.Secrets[:1] }, []string{"kind"}},
		{"the same twice", on(1, func(i *scenario.Identity) { i.Name = "alice" }), []string{"identities.1.name"}},
		{"name", on(0, func(i *scenario.Identity) { i.Name = "Alice" }), []string{"identities.0.name"}},
		{"variable's name", func(s *scenario.Scenario) { s.Identities[0].Vars["a-b"], s.Identities[1].Vars["a-b"] = "x", "y" }, []string{"identities.0.vars.a-b", "identities.1.vars.a-b"}},
		{"variable of one", on(0, func(i *scenario.Identity) { i.Vars["more"] = "x" }), []string{"identities.0.vars.more"}},
		{"variable that is no secret", on(1, func(i *scenario.Identity) { i.Vars["password"] = "${region}" }), []string{"identities.1.vars.password", "secrets.1"}},
		{"variable of no form", on(1, func(i *scenario.Identity) { i.Vars["password"] = "${" }), []string{"identities.1.vars.password", "secrets.1"}},
		{"secret by way of a variable", func(s *scenario.Scenario) { s.Steps[0].URL = "https://x.example.com/${vars.password}" }, []string{"steps.0.url"}},
		{"canary without a source", on(1, func(i *scenario.Identity) { i.Canary = "plain" }), []string{"identities.1.canary"}},
		{"canary of nobody", on(1, func(i *scenario.Identity) { i.Canary = "${nope}" }), []string{"identities.1.canary"}},
		{"canary that is a secret", on(1, func(i *scenario.Identity) { i.Canary = "${secrets.SECOND}" }), nil},
		{"a page", func(s *scenario.Scenario) { s.Steps = append(s.Steps, scenario.Step{Type: scenario.StepClose}) }, []string{"steps"}},
		{"a socket", func(s *scenario.Scenario) {
			s.Steps = append(s.Steps, scenario.Step{Type: scenario.StepTCP, Address: "x.example.com:1"})
		}, []string{"steps"}},
		{"objective of a step as one identity runs it", func(s *scenario.Scenario) {
			s.Steps[0].ID = "me"
			s.SLOs = []scenario.SLO{{Name: "fast", SLI: scenario.SLILatency, Step: "alice/me", Threshold: scenario.Duration(time.Second), Objective: 0.99, Window: slo.Window(30 * 24 * time.Hour)}}
		}, nil},
		{"objective of a step that is told under another name", func(s *scenario.Scenario) {
			s.Steps[0].ID = "me"
			s.SLOs = []scenario.SLO{{Name: "fast", SLI: scenario.SLILatency, Step: "me", Threshold: scenario.Duration(time.Second), Objective: 0.99, Window: slo.Window(30 * 24 * time.Hour)}}
		}, []string{"slos.0.step"}},
	})
}
