package netprofile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Set is a list of profiles, each with a name of its own, in the order of
// presentation: the presets first, then a user's own.
type Set []Profile

// Lookup returns the profile of that name. It shares its loss model with the
// set: change neither.
func (s Set) Lookup(name string) (Profile, bool) {
	for _, p := range s {
		if p.Name == name {
			return p, true
		}
	}
	return Profile{}, false
}

// Names returns the names of the profiles in their order.
func (s Set) Names() []string {
	names := make([]string, len(s))
	for i, p := range s {
		names[i] = p.Name
	}
	return names
}

// OwnVersion is the version of a profile that is no preset: "u-" and eight
// hex digits that follow from its numbers alone, every one of them. A link
// whose numbers change gets another version, and one whose description
// changes does not.
func (p Profile) OwnVersion() string {
	burst := "none"
	if b := p.Burst; b != nil {
		burst = fmt.Sprintf("%v/%v/%v/%v", b.PGoodToBad, b.PBadToGood, b.LossGood, b.LossBad)
	}
	// The text is a contract: another spelling of the same numbers would give
	// every user's links new versions. Rate and Ratio print exactly.
	sum := sha256.Sum256(fmt.Appendf(nil, "down=%d up=%d rtt=%d jitter=%d loss=%v burst=%s reorder=%v queue=%d mtu=%d",
		int64(p.Down), int64(p.Up), int64(p.RTT), int64(p.Jitter), p.Loss, burst, p.Reorder, p.Queue, p.MTU))
	return "u-" + hex.EncodeToString(sum[:4])
}
