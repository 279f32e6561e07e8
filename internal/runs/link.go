package runs

import (
	"fmt"
	"net/netip"
	"time"
)

// LinkMode says how a run reached the network.
type LinkMode string

// The modes. Proxy and namespace are those of a run with a browser; what they cannot carry is in ARCHITECTURE.md.
const (
	LinkDirect    LinkMode = "direct"      // the host's own network, nothing emulated
	LinkDial      LinkMode = "dial"        // http steps only: they dial through the emulated link
	LinkProxy     LinkMode = "proxy"       // the browser reaches the emulated link by SOCKS5: TCP only, and DNS by the emulator
	LinkNamespace LinkMode = "namespace"   // the browser is in a network namespace whose only interface is the emulated link
	LinkNone      LinkMode = "unavailable" // nothing was sent
)

// LinkVerdict says whether an emulated link was the one named.
type LinkVerdict string

// The verdicts. A run over a link off its profile is invalid: its numbers would be those of another network.
const (
	OnProfile  LinkVerdict = "on_profile"
	OffProfile LinkVerdict = "off_profile"
)

// Link says which access network a run went over, and what that network really did. All but Profile, Version, Mode and Blocked is
// absent where nothing was emulated.
type Link struct {
	Profile string      `json:"profile"`
	Version string      `json:"version,omitempty"`
	Mode    LinkMode    `json:"mode"`
	Verdict LinkVerdict `json:"verdict,omitempty"`
	Misses  []string    `json:"misses,omitempty"` // what was off profile: what, got, want

	// Achieved by the calibration exchange before the run's first step; nil where it did not come to an end.
	RTTMS    *float64 `json:"rtt_ms,omitempty"`
	DownKbit *float64 `json:"down_kbit,omitempty"`
	UpKbit   *float64 `json:"up_kbit,omitempty"`

	// What crossed the link in each direction over the whole run, calibration included.
	Down *LinkTraffic `json:"down,omitempty"`
	Up   *LinkTraffic `json:"up,omitempty"`

	StalledMS float64 `json:"stalled_ms,omitempty"` // of the steps' time, while the link stood still for lack of a processor

	Retransmits int `json:"retransmits,omitempty"` // segments that the emulated ends sent again
	Timeouts    int `json:"timeouts,omitempty"`    // of their retransmission timers

	Blocked      int      `json:"blocked,omitempty"`       // attempts to reach what the scenario or the probe does not allow
	BlockedHosts []string `json:"blocked_hosts,omitempty"` // the first few of them
}

// LinkTraffic is what one direction of a link did. Every packet sent was delivered, or dropped for one of two reasons, or still
// under way when the link was closed. Bytes are those of the packets that took up the link, framing included.
type LinkTraffic struct {
	Sent         int64 `json:"sent"`
	Delivered    int64 `json:"delivered"`
	DroppedLoss  int64 `json:"dropped_loss"`
	DroppedQueue int64 `json:"dropped_queue"`
	UnderWay     int64 `json:"under_way,omitempty"`
	Bytes        int64 `json:"bytes"`
	// CalibrationBytes is how many of Bytes the calibration exchange took; the others are the run's.
	CalibrationBytes int64 `json:"calibration_bytes"`

	BusyMS     float64 `json:"busy_ms"` // time spent on serialising packets
	LateMeanMS float64 `json:"late_mean_ms"`
	LateP99MS  float64 `json:"late_p99_ms"` // scheduling error of the timer: deliveries after the due time
	LateMaxMS  float64 `json:"late_max_ms"`
}

// Milliseconds converts to the unit of results, to the microsecond.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Span is the time between two instants in milliseconds, nil where one of them never came.
func Span(from, to time.Time) *float64 {
	if from.IsZero() || to.IsZero() {
		return nil
	}
	return new(Milliseconds(max(to.Sub(from), 0)))
}

// Connection is what the access network knows of one connection that a run opened, or tried to. An instant is zero where it has
// not come; ConnectStart follows DNSEnd, or Start where the host is an address.
type Connection struct {
	Network      string         // "tcp" or "udp"
	Host         string         // as asked for: a name or an address
	Port         uint16         //
	Remote       netip.AddrPort // the real address of the target
	Start        time.Time      // when the connection was asked for
	DNSStart     time.Time
	DNSEnd       time.Time
	ConnectStart time.Time
	ConnectEnd   time.Time     // when the device had its answer, across the link
	Upstream     time.Duration // of connecting, what lay beyond the link
	Failure      *Cause        // why there is no connection: class dns, connect, timeout or blocked_host
}

// BlockedError refuses a host or an address that the scenario or the probe does not allow.
type BlockedError struct {
	Host string // as asked for
	Want string // what would be allowed
}

// Error implements error.
func (e *BlockedError) Error() string { return fmt.Sprintf("host: got %s, want %s", e.Host, e.Want) }
