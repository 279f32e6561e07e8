package cachestate

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
)

// MaxPoP bounds the name of a point of presence, in bytes.
const MaxPoP = 32

// PoP reads from the response header h, which may be nil, which point of presence of a CDN answered, as the CDN names it: "FRA",
// "FRA56-P3", "fra1", "edge-eu"; "" where the headers do not tell. Where several caches name themselves, it is the one nearest the
// client. The name is printable ASCII without spaces of at most MaxPoP bytes. Like all headers it is what a target chose to send, so
// that whoever counts by it must bound how many names there are.
func PoP(h http.Header) string {
	for _, read := range []func(http.Header) string{
		func(h http.Header) string { return afterHyphen(lastMember(h, "CF-Ray")) },   // 8c1f2a3b4c5d6e7f-FRA
		func(h http.Header) string { return popName(lastMember(h, "X-Amz-Cf-Pop")) }, // FRA56-P3
		fastlyPoP,
		func(h http.Header) string { // fra1::iad1::abcde-1700000000000-0123456789ab: the edge, then where the function ran
			edge, _, found := strings.Cut(lastMember(h, "X-Vercel-Id"), "::")
			return popName(edge, found)
		},
		akamaiPoP,
		azurePoP,
		func(h http.Header) string {
			for _, header := range []string{"X-Edge-Location", "X-77-Pop", "X-Cdn-Pop", "X-Pop"} {
				if name := popName(lastMember(h, header)); name != "" {
					return name
				}
			}
			return ""
		},
		bunnyPoP,
		cacheName,
	} {
		if name := read(h); name != "" {
			return name
		}
	}
	return ""
}

// popName returns what names a point of presence: letters, digits, hyphens, underscores, dots and colons; "" where there is anything
// else, or too much. told may be left out.
func popName(name string, told ...bool) string {
	if len(name) > MaxPoP || len(told) > 0 && !told[0] {
		return ""
	}
	for i := range len(name) {
		if b := name[i]; !isAlpha(b) && !isDigit(b) && strings.IndexByte("-_.:", b) < 0 {
			return ""
		}
	}
	return name
}

// lastMember returns the last member of a header that is a list.
func lastMember(h http.Header, name string) string {
	members := list(h, name)
	if len(members) == 0 {
		return ""
	}
	return members[len(members)-1]
}

// afterHyphen returns the airport's code at the end of a name.
func afterHyphen(s string) string {
	i := strings.LastIndexByte(s, '-')
	code := popName(s[i+1:], i >= 0)
	if len(code) < 3 || !isAlpha(code[0]) {
		return ""
	}
	return code
}

// fastlyPoP reads "cache-iad-kiad7000025-IAD, cache-fra-etou8220079-FRA": one node to a cache, the edge last.
func fastlyPoP(h http.Header) string {
	node := lastMember(h, "X-Served-By")
	if !strings.HasPrefix(strings.ToLower(node), "cache-") {
		return ""
	}
	return afterHyphen(node)
}

// akamaiPoP reads "[a=192.0.2.1,b=1,c=g,n=DE_HE_FRANKFURT,o=20940]", of which there is one to a server, the edge first. Akamai sends it
// only where the property is set up to.
func akamaiPoP(h http.Header) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(joined(h, "Akamai-Request-BC"), "["), "]")
	for _, field := range split(first, ',') {
		if name, found := strings.CutPrefix(field, "n="); found {
			return popName(name)
		}
	}
	return ""
}

// The forms of a Front Door node's name and of the newer references. Neither is documented; they are what is seen.
var (
	azureNode = regexp.MustCompile(`([A-Z]{3})\d*EDGE\d+`)
	azureRef  = regexp.MustCompile(`^\d{8}T\d{6}Z-[a-z0-9]{8,24}hC1([A-Z][A-Z0-9]{2})`)
)

// azurePoP reads the node out of Azure's references: "Ref A: ... Ref B: FRAEDGE1418 Ref C: ..." says it; "0..." is base64 with the node's
// name between two identifiers, 24 bytes in; "20260224T091445Z-17c9cc7f8d9x2jvmhC1PAR..." has the site's letters after hC1.
func azurePoP(h http.Header) string {
	if m := azureNode.FindStringSubmatch(joined(h, "X-MSEdge-Ref")); m != nil {
		return m[1]
	}
	ref := lastMember(h, "X-Azure-Ref")
	if m := azureRef.FindStringSubmatch(ref); m != nil {
		return m[1]
	}
	const ahead, longest = 24, 256
	encoded, found := strings.CutPrefix(ref, "0")
	if !found || len(encoded) > longest {
		return ""
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil || len(raw) <= ahead {
		return ""
	}
	node, _, _ := bytes.Cut(raw[ahead:], []byte{0})
	if m := azureNode.FindSubmatch(node); m != nil {
		return string(m[1])
	}
	return ""
}

// bunnyPoP reads "Server: BunnyCDN-DE1-1048".
func bunnyPoP(h http.Header) string {
	node, found := strings.CutPrefix(h.Get("Server"), "BunnyCDN-")
	site, _, _ := strings.Cut(node, "-")
	return popName(site, found)
}

// cacheName takes the name by which the cache nearest the client goes in Cache-Status.
func cacheName(h http.Header) string {
	members, ok := parseList(joined(h, "Cache-Status"))
	if !ok || len(members) == 0 || !members[len(members)-1].isName() {
		return ""
	}
	return popName(strings.ReplaceAll(members[len(members)-1].text, " ", "-"))
}
