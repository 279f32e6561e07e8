package cli

import (
	"os"
	"strings"
)

// HostLabel turns the host's name into a label, as probes are called by; "probe" where nothing of it can be one.
func HostLabel() string {
	host, err := os.Hostname()
	if err != nil {
		return "probe"
	}
	label := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, strings.ToLower(host))
	label = strings.Trim(label[:min(len(label), 63)], "-")
	if label == "" {
		return "probe"
	}
	return label
}
