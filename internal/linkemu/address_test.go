package linkemu

import (
	"net/netip"
	"testing"
)

func TestLoopbackGoesByAnotherAddressOnTheLink(t *testing.T) {
	for _, text := range []string{"127.0.0.1", "127.0.3.9", "::1"} {
		a := netip.MustParseAddr(text)
		if on := onLink(a); on == a || on.IsLoopback() || offLink(on) != a {
			t.Errorf("%s: got %s on the link, and %s back", a, on, offLink(on))
		}
	}
	for _, text := range []string{"93.184.215.14", "2606:4700::1", "127.9.0.1"} {
		if a := netip.MustParseAddr(text); onLink(a) != a || offLink(a) != a {
			t.Errorf("%s: got %s on the link, want it as it is", a, onLink(a))
		}
	}
}
