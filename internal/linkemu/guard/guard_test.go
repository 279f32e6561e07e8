package guard

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"lastmile/internal/runs"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func TestOnlyPublicAddressesUnlessAllowed(t *testing.T) {
	g := New(nil, prefixes("10.20.0.0/16"))
	for _, tt := range []struct {
		address string
		want    bool
	}{
		{"93.184.215.14", true}, {"2606:4700::6810:84e5", true}, {"::ffff:93.184.215.14", true}, {"64:ff9b::5db8:d822", true},
		{"10.20.255.1", true}, {"::ffff:10.20.0.1", true}, {"64:ff9b::a14:1", true},
		{"10.21.0.1", false}, {"172.16.0.1", false}, {"192.168.1.1", false}, {"127.0.0.1", false}, {"0.0.0.0", false},
		{"169.254.169.254", false}, {"100.100.100.200", false}, {"192.0.0.192", false}, {"fd00:ec2::254", false}, // metadata services
		{"::1", false}, {"::", false}, {"fe80::1", false}, {"fe80::1%eth0", false}, {"fc00::1", false}, {"ff02::1", false},
		{"224.0.0.251", false}, {"255.255.255.255", false}, {"240.0.0.1", false}, {"198.18.0.1", false},
		{"::ffff:127.0.0.1", false}, {"::ffff:169.254.169.254", false}, {"::127.0.0.1", false},
		{"64:ff9b::7f00:1", false}, {"64:ff9b::a9fe:a9fe", false}, {"2002:7f00:1::1", false}, {"2002:a9fe:a9fe::", false},
	} {
		if got := g.Public(netip.MustParseAddr(tt.address)); got != tt.want {
			t.Errorf("%s: got allowed %v, want %v", tt.address, got, tt.want)
		}
	}
}

func TestGuardRefusesAndCounts(t *testing.T) {
	g := New(func(host string) bool { return host == "shop.test" || host == "93.184.215.14" }, nil)
	if err := g.Host("Shop.Test."); err != nil {
		t.Errorf("a listed host, in another spelling: got %v, want none", err)
	}
	public, private := netip.MustParseAddr("93.184.215.99"), netip.MustParseAddr("192.168.0.1")
	got, err := g.Addresses("shop.test", []netip.Addr{private, public})
	if err != nil || !slices.Equal(got, []netip.Addr{public}) {
		t.Errorf("a public and a private address: got %v and %v, want the public one", got, err)
	}
	if err := g.Connect(public); err != nil {
		t.Errorf("connect to what DNS gave: got %v, want none", err)
	}
	if err := g.Connect(netip.MustParseAddr("93.184.215.14")); err != nil {
		t.Errorf("connect to a listed address: got %v, want none", err)
	}
	refused := []error{
		g.Host("evil.test"),
		g.Connect(netip.MustParseAddr("8.8.8.8")), // which nobody listed and DNS did not give
		g.Connect(private),
	}
	_, err = g.Addresses("shop.test", []netip.Addr{private})
	for i, err := range append(refused, err) {
		if _, ok := errors.AsType[*runs.BlockedError](err); !ok {
			t.Errorf("attempt %d: got %v, want a BlockedError", i, err)
		}
	}
	count, hosts := g.Refused()
	if want := []string{"evil.test", "8.8.8.8", "192.168.0.1", "shop.test at 192.168.0.1"}; count != 4 || !slices.Equal(hosts, want) {
		t.Errorf("got %d refused, %q; want 4, %q", count, hosts, want)
	}
}
