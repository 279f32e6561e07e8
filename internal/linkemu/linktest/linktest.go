// Package linktest tells tests, which run on machines that may be too busy for an emulated link, whether a link that says that it was
// off its profile is right. The limits are those of ARCHITECTURE.md, written once more.
package linktest

import (
	"fmt"
	"strings"
	"time"

	"lastmile/internal/runs"
)

// Unproven returns those misses of a link, whose profile is right and has the round trip, that its own record does not prove: that it stood
// still, or that its packets came late. On a machine that was not too busy for it, these are all.
func Unproven(l runs.Link, rtt time.Duration) (misses []string) {
	r := record{l, runs.Milliseconds(rtt)}
	for _, miss := range l.Misses {
		if !r.proves(miss) {
			misses = append(misses, fmt.Sprintf("%s (stalled %v ms, down %+v, up %+v)", miss, l.StalledMS, *l.Down, *l.Up))
		}
	}
	return misses
}

// record is what a link says of itself, and its profile's round trip in milliseconds.
type record struct {
	link runs.Link
	rtt  float64
}

// proves reports whether the machine can be to blame for a miss. It never is for packets that were lost, or came too soon.
func (r record) proves(miss string) bool {
	const rounding = 0.05
	what, found, _ := strings.Cut(miss, ": got ")
	var got, of, most float64
	if n, _ := fmt.Sscanf(found, "the link standing still for %f of %f ms, want at most %f ms", &got, &of, &most); n == 3 {
		return got <= r.link.StalledMS+rounding && got > max(10, 0.03*(of-0.5))-rounding
	}
	if what == "rtt" {
		n, _ := fmt.Sscanf(found, "%f ms, want %f ms", &got, &most)
		return n == 2 && got > most && max(r.link.Down.LateMaxMS, r.link.Up.LateMaxMS) > max(2, r.rtt/100)
	}
	line, ok := map[string]*runs.LinkTraffic{"down": r.link.Down, "up": r.link.Up}[what]
	switch {
	case !ok || strings.Contains(found, "lost") || strings.HasPrefix(found, "no "):
		return false
	case strings.HasPrefix(found, "packets "):
		return line.LateMeanMS > max(0.5, r.rtt/200)-0.001
	}
	return line.LateMaxMS > 2 // a rate may be off by 3 % of half a train of 250 ms, and 1 ms: less does not move it so far
}
