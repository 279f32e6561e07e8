package chromium

import (
	"strings"
	"testing"
)

func TestNetworkFlags(t *testing.T) {
	const proxied = "--proxy-server=socks5://nowhere.invalid --force-webrtc-ip-handling-policy=disable_non_proxied_udp" +
		" --webrtc-ip-handling-policy=disable_non_proxied_udp --disable-quic" +
		" --host-resolver-rules=MAP nowhere.invalid ~NOTFOUND , MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
	for _, tt := range []struct {
		name string
		spec Spec
		want string
	}{
		{"direct", Spec{},
			"--proxy-server=socks5://nowhere.invalid --disable-quic --host-resolver-rules=MAP nowhere.invalid ~NOTFOUND"},
		{"direct, with a list", Spec{AllowHosts: []string{"a.test", "*.b.test"}},
			"--proxy-server=socks5://nowhere.invalid --disable-quic --host-resolver-rules=MAP nowhere.invalid ~NOTFOUND , MAP * ~NOTFOUND , EXCLUDE a.test , EXCLUDE *.b.test"},
		{"proxy", Spec{Network: Network{Proxy: "127.0.0.1:1080"}}, proxied},
		{"proxy, with a list that is the proxy's to heed", Spec{AllowHosts: []string{"a.test"}, Network: Network{Proxy: "127.0.0.1:1080"}}, proxied},
		{"inside, with QUIC", Spec{Network: Network{HostRules: []string{"MAP localhost 198.19.0.1"}}},
			"--proxy-server=socks5://nowhere.invalid --host-resolver-rules=MAP nowhere.invalid ~NOTFOUND , MAP localhost 198.19.0.1"},
		{"inside, without rules", Spec{Network: Network{HostRules: []string{}}},
			"--proxy-server=socks5://nowhere.invalid --host-resolver-rules=MAP nowhere.invalid ~NOTFOUND"},
		{"inside, with a list that is the network's to heed",
			Spec{AllowHosts: []string{"a.test"}, Network: Network{HostRules: []string{"MAP localhost 198.19.0.1"}}},
			"--proxy-server=socks5://nowhere.invalid --host-resolver-rules=MAP nowhere.invalid ~NOTFOUND , MAP localhost 198.19.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(networkFlags(tt.spec), " "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
