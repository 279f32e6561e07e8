package demosite

import (
	"strings"
	"testing"
)

func TestParseFault(t *testing.T) {
	for _, c := range []struct {
		text, region, problem string
		fault                 Fault
	}{
		{text: "slow-region", fault: SlowRegion},
		{text: "slow-region=eu", fault: SlowRegion, region: "eu"},
		{text: "slow-region:eu", fault: SlowRegion, region: "eu"},
		{text: " cache-miss = all ", fault: CacheMiss, region: "all"},
		{text: "errors=", problem: "the region is empty"},
		{text: "erors", problem: "unknown fault, want one of slow-region, errors"},
		{text: "", problem: "unknown fault"},
	} {
		f, region, err := ParseFault(c.text)
		if c.problem != "" {
			if err == nil || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%q: got error %v, want %s", c.text, err, c.problem)
			}
			continue
		}
		if err != nil || f != c.fault || region != c.region {
			t.Errorf("%q: got %s, %q, %v", c.text, f, region, err)
		}
	}
}

func TestEveryFaultIsDescribed(t *testing.T) {
	for _, name := range FaultNames() {
		if f := Fault(name); f.Describe() == "" || strings.Contains(f.Describe(), "\n") || f.DefaultRegion() == "" {
			t.Errorf("%s: got description %q, default region %q", f, f.Describe(), f.DefaultRegion())
		}
	}
}

func TestSetChecksFaultAndRegion(t *testing.T) {
	for _, c := range []struct {
		regions string
		fault   Fault
		region  string
		active  string // or else
		problem string
	}{
		{"us eu apac latam", CacheMiss, "all", "cache-miss=apac cache-miss=eu cache-miss=latam cache-miss=us", ""},
		{"us eu apac latam", ReplicationLag, "all", "replication-lag=apac replication-lag=eu replication-lag=latam", ""},
		{"us-east eu-central", SlowRegion, "", "slow-region=eu-central", ""},
		{"us-east eu-central", ReplicationLag, "", "replication-lag=eu-central", ""},
		{"apac eu", ReplicationLag, "", "replication-lag=eu", ""},
		{"apac eu", ReplicationLag, "apac", "", `set fault replication-lag: got region "apac", want one of eu`},
		{"us eu", Errors, "mars", "", `set fault errors: got region "mars", want one of us, eu`},
		{"us eu", "fire", "us", "", "unknown fault"},
		{"us", Misroute, "us", "", "want at least two"},
		{"us", ReplicationLag, "", "", "want at least two"},
	} {
		fs := newFaults(strings.Fields(c.regions))
		err := fs.Set(c.fault, c.region, true)
		if got := strings.Join(fs.Active(), " "); got != c.active {
			t.Errorf("%s in %q of %s: got %q, want %q", c.fault, c.region, c.regions, got, c.active)
		}
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s in %q of %s: got error %v, want %q", c.fault, c.region, c.regions, err, c.problem)
		}
	}
}
