package har

import "time"

// The parts of an archive, in the words of the specification. Keys that begin with _ are custom: some are those of Chromium's own
// archives, which its network panel reads; the others are ours.

type archive struct {
	Version string  `json:"version"`
	Creator creator `json:"creator"`
	Pages   []page  `json:"pages"`
	Entries []entry `json:"entries"`
	Comment string  `json:"comment"`
}

type creator struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type page struct {
	Started time.Time   `json:"startedDateTime"`
	ID      string      `json:"id"`
	Title   string      `json:"title"`
	Timings pageTimings `json:"pageTimings"`
	Step    string      `json:"_step,omitempty"`
	Soft    bool        `json:"_soft,omitempty"`
}

type pageTimings struct {
	OnContentLoad float64  `json:"onContentLoad"`
	OnLoad        float64  `json:"onLoad"`
	TTFB          *float64 `json:"_ttfb,omitempty"`
	FCP           *float64 `json:"_firstContentfulPaint,omitempty"`
	LCP           *float64 `json:"_largestContentfulPaint,omitempty"`
	CLS           *float64 `json:"_cumulativeLayoutShift,omitempty"`
	INP           *float64 `json:"_interactionToNextPaint,omitempty"`
}

type entry struct {
	Page     string    `json:"pageref,omitempty"`
	Started  time.Time `json:"startedDateTime"`
	Time     float64   `json:"time"`
	Request  request   `json:"request"`
	Response response  `json:"response"`
	Cache    struct{}  `json:"cache"` // what is in it of a browser's cache is not told
	Timings  timings   `json:"timings"`
	ServerIP string    `json:"serverIPAddress,omitempty"`

	Error        string     `json:"_error,omitempty"`
	FromCache    string     `json:"_fromCache,omitempty"`
	Priority     string     `json:"_priority,omitempty"`
	ResourceType string     `json:"_resourceType,omitempty"`
	Initiator    *initiator `json:"_initiator,omitempty"`
	Step         string     `json:"_step,omitempty"`
	From         string     `json:"_from,omitempty"` // what in the browser asked: page, frame, worker, ...
	ServedRegion string     `json:"_servedRegion,omitempty"`
	CDN          cdn        `json:"_cdnCache"`
}

// cdn is what a CDN's cache did for a response.
type cdn struct {
	State  string `json:"state"`
	Tier   string `json:"tier,omitempty"`
	Vendor string `json:"vendor,omitempty"`
}

type initiator struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

type request struct {
	Method      string   `json:"method"`
	URL         string   `json:"url"`
	Version     string   `json:"httpVersion"`
	Cookies     []cookie `json:"cookies"`
	Headers     []pair   `json:"headers"`
	Query       []pair   `json:"queryString"`
	HeadersSize int64    `json:"headersSize"`
	BodySize    int64    `json:"bodySize"`
}

type response struct {
	Status       int      `json:"status"`
	StatusText   string   `json:"statusText"`
	Version      string   `json:"httpVersion"`
	Cookies      []cookie `json:"cookies"`
	Headers      []pair   `json:"headers"`
	Content      content  `json:"content"`
	RedirectURL  string   `json:"redirectURL"`
	HeadersSize  int64    `json:"headersSize"`
	BodySize     int64    `json:"bodySize"`
	TransferSize int64    `json:"_transferSize"` // received, headers included where known
}

type content struct {
	Size int64  `json:"size"`
	MIME string `json:"mimeType"`
}

type pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type cookie struct {
	Name     string `json:"name"`
	Value    string `json:"value"`
	Path     string `json:"path,omitempty"`
	Domain   string `json:"domain,omitempty"`
	Expires  string `json:"expires,omitempty"`
	HTTPOnly bool   `json:"httpOnly"`
	Secure   bool   `json:"secure"`
}

// timings are in milliseconds; -1 = did not happen. connect has ssl in it.
type timings struct {
	Blocked float64 `json:"blocked"`
	DNS     float64 `json:"dns"`
	Connect float64 `json:"connect"`
	SSL     float64 `json:"ssl"`
	Send    float64 `json:"send"`
	Wait    float64 `json:"wait"`
	Receive float64 `json:"receive"`
}
