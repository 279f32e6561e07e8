package scenario

import (
	"maps"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
)

// Unlisted is the serving region of an answer from an address that no network of Routing.Addresses has, where Match says that the request
// counts. Without Match nothing says that such a request has to do with the service at all, and it tells no region.
const Unlisted = "unlisted"

// Concerns reports whether an answer from the URL, which is without its query, may tell the region that served it.
func (r *Routing) Concerns(url string) bool {
	return r != nil && (r.Match == "" || Glob(r.Match, url))
}

// OfHeader returns the region that a response's header tells; "" where it tells none.
func (r *Routing) OfHeader(h http.Header) string {
	if r == nil || r.Header == "" {
		return ""
	}
	return h.Get(r.Header)
}

// OfBody returns the region that the regular expression finds in a body: its first group, or the whole match where it has none. It is ""
// where routing does not go by that, or there is no match.
func (r *Routing) OfBody(body []byte) string {
	if r == nil || r.Regex == "" {
		return ""
	}
	re, err := regexp.Compile(r.Regex)
	if err != nil { // Validate would have said so
		return ""
	}
	groups := re.FindSubmatch(body)
	if groups == nil {
		return ""
	}
	return string(groups[min(1, len(groups)-1)])
}

// OfAddress returns the region of the network that an address (ip:port) is in, the narrowest where it is in several. It is "" where
// routing does not go by that, where the address is not known, and where no network has it; but see Unlisted.
func (r *Routing) OfAddress(address string) string {
	if r == nil || len(r.Addresses) == 0 {
		return ""
	}
	remote, err := netip.ParseAddrPort(address)
	if err != nil {
		return ""
	}
	region, narrowest := "", -1 // in order of their names, so that of equal networks the same one wins each time
	for _, name := range slices.Sorted(maps.Keys(r.Addresses)) {
		for _, text := range r.Addresses[name] {
			network, err := netip.ParsePrefix(text)
			if err == nil && network.Contains(remote.Addr().Unmap().WithZone("")) && network.Bits() > narrowest {
				region, narrowest = name, network.Bits()
			}
		}
	}
	if region == "" && r.Match != "" {
		return Unlisted
	}
	return region
}
