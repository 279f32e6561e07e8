package cachestate

import (
	"net/http"
	"strconv"
)

// cacheStatus reads Cache-Status (RFC 9211): one member per cache, the last
// nearest the client. A field that does not parse, or whose members are not
// all names, is ignored as a whole (RFC 9651, section 4.2), and so is one
// whose last member says neither hit nor fwd.
func cacheStatus(h http.Header) (Result, bool) {
	members, ok := parseList(joined(h, "Cache-Status"))
	if !ok || len(members) == 0 {
		return Result{}, false
	}
	for _, m := range members {
		if !m.isName() {
			return Result{}, false
		}
	}
	last := len(members) - 1
	state, evidence, ok := memberState(members[last])
	if !ok {
		return Result{}, false
	}
	result := Result{State: state, Tier: Edge, Vendor: Standard, Evidence: "Cache-Status: " + evidence}
	if state != Miss {
		return result, true
	}
	for _, m := range members[:last] {
		if earlier, _, _ := memberState(m); earlier.Hit() {
			result.Tier = ParentHit
			result.Evidence += " after a hit"
			break
		}
	}
	return result, true
}

// memberState reads the parameters of one cache. A forward for a reason that
// RFC 9211 does not list is Unknown: it was no hit, but may or may not have
// been a miss.
func memberState(m sfMember) (state State, evidence string, ok bool) {
	if hit, found := m.param("hit"); found && hit.kind == sfBoolean && hit.number == 1 {
		if ttl, found := m.param("ttl"); found && ttl.kind == sfInteger && ttl.number < 0 {
			return Stale, "hit; ttl=" + strconv.FormatInt(ttl.number, 10), true
		}
		return Hit, "hit", true
	}
	fwd, found := m.param("fwd")
	if !found || !fwd.isName() {
		return Unknown, "", false
	}
	evidence = "fwd=" + leadingWord(fwd.text)
	switch fwd.text {
	case "stale":
		if status, found := m.param("fwd-status"); found && status.kind == sfInteger && status.number == http.StatusNotModified {
			return Revalidated, evidence + "; fwd-status=304", true
		}
		return Expired, evidence, true
	case "uri-miss", "vary-miss", "miss", "partial":
		return Miss, evidence, true
	case "bypass", "method", "request":
		return Bypass, evidence, true
	}
	return Unknown, evidence, true
}
