package autonomy

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"lastmile/internal/runs"
)

// The bounds of what is kept of others.
const (
	beatsMissed = 3   // after which a sibling counts as gone
	maxSiblings = 256 // a flood of made-up names must not fill the memory
)

// siblings are the other probes of the region that we hear from.
type siblings struct {
	self    string
	silence time.Duration
	known   map[string]sibling
}

// sibling is one of them, by its last beat.
type sibling struct {
	beat   runs.PeerBeat
	recent map[runs.ID]struct{}
	heard  time.Time // by our own clock, which does not jump against itself
}

func newSiblings(self string, beat time.Duration) *siblings {
	return &siblings{self: self, silence: beatsMissed*beat + beat/2, known: map[string]sibling{}}
}

// heard takes up a beat.
func (s *siblings) heard(b *runs.PeerBeat, at time.Time) {
	s.forget(at)
	if _, ok := s.known[b.Probe]; b.Probe == s.self || !ok && len(s.known) >= maxSiblings {
		return
	}
	one := sibling{beat: *b, heard: at, recent: make(map[runs.ID]struct{}, len(b.Recent))}
	for _, id := range b.Recent {
		one.recent[id] = struct{}{}
	}
	one.beat.Recent = nil
	s.known[b.Probe] = one
}

// forget drops those that are gone. What they had goes with them: a run that one of them died in has to be done by somebody.
func (s *siblings) forget(now time.Time) {
	for name, one := range s.known {
		if now.Sub(one.heard) > s.silence {
			delete(s.known, name)
		}
	}
}

// answered reports whether a coordinator answers one of them: then runs are ordered, and not ours to order.
func (s *siblings) answered() bool {
	for _, one := range s.known {
		if one.beat.Answered {
			return true
		}
	}
	return false
}

// have reports whether one of them has the run, or had it lately.
func (s *siblings) have(id runs.ID) bool {
	for _, one := range s.known {
		if _, ok := one.recent[id]; ok {
			return true
		}
	}
	return false
}

// owner is the probe whose turn a run is: of those that order runs of this plan by themselves and can run the pool, this one among them, the
// one with the highest hash. Each of them finds the same one as long as they see each other, and when one goes, only its runs move.
func (s *siblings) owner(id runs.ID, pool, plan string) string {
	best, most := s.self, rank(id, s.self)
	for name, one := range s.known {
		if !one.beat.Autonomous || one.beat.Plan != plan || !slices.Contains(one.beat.Pools, pool) {
			continue
		}
		if r := rank(id, name); r > most || r == most && name < best {
			best, most = name, r
		}
	}
	return best
}

// rank is the rendezvous hash (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998).
func rank(id runs.ID, probe string) uint64 {
	hash := sha256.Sum256([]byte(string(id) + "\x00" + probe))
	return binary.BigEndian.Uint64(hash[:])
}
