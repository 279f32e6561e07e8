package demosite

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"lastmile/internal/demosite/edge"
)

// Fault names one way in which the site can be broken on purpose.
type Fault string

// The faults, each switched on and off per region while the site runs.
const (
	SlowRegion     Fault = "slow-region"
	Errors         Fault = "errors"
	Misroute       Fault = "misroute"
	CacheMiss      Fault = "cache-miss"
	ReplicationLag Fault = "replication-lag"
	LostWrites     Fault = "lost-writes"
	BackwardReads  Fault = "backward-reads"
	CacheLeak      Fault = "cache-leak"
	AuthCached     Fault = "auth-cached"
)

// AllRegions stands, where a region is asked for, for every region in which the fault makes sense.
const AllRegions = "all"

type faultSpec struct {
	fault  Fault
	region string // where it strikes when nobody says
	about  string
	needs  need
}

// need is what a fault cannot do without.
type need int

const (
	anyRegion   need = iota
	otherRegion      // one beside its own
	replica          // a region that is not the primary
)

// The default regions are such that no fault hides another, and each is seen by
// one scenario of the demo, when all are on: the primary has no replica that
// could lag, lose or go back; its visitors go to eu under misroute, where no
// other fault meets those who only pass through; and cache-miss would undo
// cache-leak and auth-cached.
func faultSpecs() []faultSpec {
	return []faultSpec{
		{SlowRegion, "apac", "one region answers everything but its assets about 800 ms later", anyRegion},
		{Errors, "latam", "one region's stock API answers every second request with 503", anyRegion},
		{Misroute, "us", "one region's visitors are sent to another region, data and all", otherRegion},
		{CacheMiss, "latam", "one region's edge cache stores nothing, so every request goes to the origin", anyRegion},
		{ReplicationLag, "apac", "one region's replica is 5 s behind the primary", replica},
		{LostWrites, "eu", "one region's replica never gets the writes that the primary has acknowledged", replica},
		{BackwardReads, "latam", "one region's reads take turns between its replica and another one 5 s behind", replica},
		{CacheLeak, "apac", "one region's edge caches /api/me, so a user is shown another user's data", anyRegion},
		{AuthCached, "apac", "one region's edge caches what only members may ask for, /api/offers, against the rules", anyRegion},
	}
}

func (f Fault) spec() (spec faultSpec, known bool) {
	specs := faultSpecs()
	if i := slices.IndexFunc(specs, func(s faultSpec) bool { return s.fault == f }); i >= 0 {
		return specs[i], true
	}
	return faultSpec{}, false
}

// FaultNames returns every fault's name, in the order of the documentation.
func FaultNames() []string {
	var names []string
	for _, s := range faultSpecs() {
		names = append(names, string(s.fault))
	}
	return names
}

// Describe says in one line what f does; it is empty for an unknown fault.
func (f Fault) Describe() string {
	s, _ := f.spec()
	return s.about
}

// DefaultRegion is where f strikes on a site with the default regions when no
// region is given; it is empty for an unknown fault.
func (f Fault) DefaultRegion() string {
	s, _ := f.spec()
	return s.region
}

// ParseFault reads "fault", "fault=region" or "fault:region". Without a region
// the returned region is empty, which [Faults.Set] takes as the default one.
// Whether the region exists is known only to a site, so Set checks it.
func ParseFault(text string) (Fault, string, error) {
	name, region, given := strings.Cut(strings.Replace(text, ":", "=", 1), "=")
	name, region = strings.TrimSpace(name), strings.TrimSpace(region)
	if given && region == "" {
		return "", "", fmt.Errorf("parse fault %q: the region is empty", text)
	}
	f := Fault(name)
	if _, ok := f.spec(); !ok {
		return "", "", fmt.Errorf("parse fault %q: unknown fault, want one of %s", text, strings.Join(FaultNames(), ", "))
	}
	return f, region, nil
}

// Faults is the switchboard of a site. It is safe for concurrent use, and a
// change holds from the next request on.
type Faults struct {
	regions []string // the first is the primary
	mu      sync.RWMutex
	on      map[string]bool // by "fault=region"
}

func newFaults(regions []string) *Faults {
	return &Faults{regions: regions, on: make(map[string]bool)}
}

// Set switches f on or off in a region; "" is the fault's default region and
// [AllRegions] every region. It returns an error, and changes nothing, for an
// unknown fault or region and for a region in which f cannot exist.
func (fs *Faults) Set(f Fault, region string, on bool) error {
	regions, err := fs.resolve(f, region)
	if err != nil {
		return fmt.Errorf("set fault %s: %w", f, err)
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, r := range regions {
		fs.on[string(f)+"="+r] = on
	}
	return nil
}

func (fs *Faults) resolve(f Fault, region string) ([]string, error) {
	spec, known := f.spec()
	if !known {
		return nil, fmt.Errorf("unknown fault, want one of %s", strings.Join(FaultNames(), ", "))
	}
	possible := fs.regions
	if spec.needs == replica { // the write primary has none
		possible = fs.regions[1:]
	}
	if len(fs.regions) < 2 && spec.needs != anyRegion {
		return nil, errors.New("got a site of one region, want at least two")
	}
	if region == "" && slices.Contains(possible, spec.region) {
		region = spec.region
	}
	switch {
	case region == AllRegions:
		return possible, nil
	case region == "": // a site with regions of its own
		return possible[len(possible)-1:], nil
	case slices.Contains(possible, region):
		return []string{region}, nil
	}
	return nil, fmt.Errorf("got region %q, want one of %s", region, strings.Join(possible, ", "))
}

// On reports whether f is switched on in region.
func (fs *Faults) On(f Fault, region string) bool {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	return fs.on[string(f)+"="+region]
}

// defects tells which faults of a region's edge are switched on.
func (fs *Faults) defects(region string) func(edge.Defect) bool {
	names := map[edge.Defect]Fault{edge.StoresNothing: CacheMiss, edge.SharesPrivate: CacheLeak, edge.SharesAuthorised: AuthCached}
	return func(d edge.Defect) bool { return fs.On(names[d], region) }
}

// Active lists what is switched on as "fault=region", sorted; each item can be
// read back by [ParseFault].
func (fs *Faults) Active() []string {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	var active []string
	for name, on := range fs.on {
		if on {
			active = append(active, name)
		}
	}
	slices.Sort(active)
	return active
}
