package traffic

import (
	"strings"

	"lastmile/internal/runs"
)

// ClassOfNetError sorts Chromium's network errors (net/base/net_error_list.h), such as net::ERR_NAME_NOT_RESOLVED. ClassProbe are
// those that say that this machine has no network, or no memory or sockets left, whatever the target is like.
func ClassOfNetError(text string) runs.Class {
	name := strings.TrimPrefix(text, "net::ERR_")
	for _, group := range []struct {
		class    runs.Class
		prefixes []string
	}{
		{runs.ClassProbe, []string{
			"INTERNET_DISCONNECTED", "NETWORK_CHANGED", "NETWORK_IO_SUSPENDED", "INSUFFICIENT_RESOURCES", "OUT_OF_MEMORY",
			"NO_BUFFER_SPACE", "FILE_NO_SPACE",
		}},
		{runs.ClassDNS, []string{"NAME_NOT_RESOLVED", "NAME_RESOLUTION_FAILED", "DNS_", "ICANN_NAME_COLLISION"}},
		{runs.ClassTLS, []string{"CERT_", "SSL_", "BAD_SSL_", "CERTIFICATE_", "ECH_", "QUIC_HANDSHAKE_FAILED"}},
		{runs.ClassTimeout, []string{"TIMED_OUT", "CONNECTION_TIMED_OUT"}},
		{runs.ClassConnect, []string{
			"CONNECTION_", "ADDRESS_", "NETWORK_", "SOCKET_", "SOCKS_", "EMPTY_RESPONSE", "PROXY_", "TUNNEL_",
			"UNSAFE_PORT",
		}},
	} {
		for _, prefix := range group.prefixes {
			if strings.HasPrefix(name, prefix) {
				return group.class
			}
		}
	}
	return runs.ClassScript
}
