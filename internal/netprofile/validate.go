package netprofile

import (
	"fmt"
	"strconv"
	"time"
)

// The ranges within which a profile is believed. They are wide: their purpose
// is to catch a slipped unit, not to forbid a strange link.
const (
	minRate     = 1 * KbitPerSecond
	maxRate     = 10 * GbitPerSecond
	maxRTT      = 60 * time.Second
	maxQueue    = 100_000
	minMTU      = 576
	maxMTU      = 9000
	maxLabelLen = 63
)

// Problem is one bad field of a Profile.
type Problem struct {
	// Field is the path of JSON names, such as "burst.loss_bad".
	Field string
	// Got and Want are the value found and the rule that it breaks, with
	// their unit.
	Got, Want string
}

// Error makes a Problem fit for errors.Join.
func (p Problem) Error() string {
	return fmt.Sprintf("%s: got %s, want %s", p.Field, p.Got, p.Want)
}

// Validate returns every bad field, in the order of the struct; none means
// that the profile can be emulated (or, for None, that it asks for nothing).
func (p Profile) Validate() []Problem {
	c := &checker{}
	c.label("name", p.Name)
	c.label("version", p.Version)
	if !p.Emulated() {
		c.untouched(p)
		return c.problems
	}
	c.rate("down", p.Down)
	c.rate("up", p.Up)
	c.need(p.RTT >= 0 && p.RTT <= maxRTT, "rtt", p.RTT.String(), "0s to "+maxRTT.String())
	c.need(p.Jitter >= 0 && p.Jitter <= max(0, p.OneWay()), "jitter", p.Jitter.String(),
		"0s to half of the rtt, "+max(0, p.OneWay()).String())
	c.loss(p)
	c.ratio("reorder", p.Reorder)
	c.need(p.Reorder == 0 || p.RTT > 0, "reorder", p.Reorder.String(),
		"0% when the rtt is 0s: without delay no packet can overtake another")
	c.count("queue", p.Queue, 1, maxQueue, "packets")
	c.count("mtu", p.MTU, minMTU, maxMTU, "bytes")
	return c.problems
}

// checker collects problems.
type checker struct{ problems []Problem }

func (c *checker) need(ok bool, field, got, want string) {
	if !ok {
		c.problems = append(c.problems, Problem{Field: field, Got: got, Want: want})
	}
}

// label wants what is safe as a metric label, a file name and a subject token.
func (c *checker) label(field, s string) {
	ok := s != "" && len(s) <= maxLabelLen && s[0] != '-' && s[len(s)-1] != '-'
	for i := range len(s) {
		b := s[i]
		ok = ok && (b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-')
	}
	c.need(ok, field, quote(s), "1 to 63 of a-z, 0-9 and inner hyphens")
}

func (c *checker) rate(field string, r Rate) {
	c.need(r >= minRate && r <= maxRate, field, r.String(), minRate.String()+" to "+maxRate.String())
}

func (c *checker) ratio(field string, r Ratio) {
	c.need(r.valid(), field, r.String(), "0% to 100%")
}

func (c *checker) count(field string, n, low, high int, unit string) {
	c.need(n >= low && n <= high, field, strconv.Itoa(n)+" "+unit, fmt.Sprintf("%d to %d %s", low, high, unit))
}

func (c *checker) loss(p Profile) {
	before := len(c.problems)
	c.ratio("loss", p.Loss)
	if b := p.Burst; b != nil {
		c.ratio("burst.p_good_to_bad", b.PGoodToBad)
		c.ratio("burst.p_bad_to_good", b.PBadToGood)
		c.ratio("burst.loss_good", b.LossGood)
		c.ratio("burst.loss_bad", b.LossBad)
	}
	if len(c.problems) > before {
		return
	}
	// A loss of "1" that was meant as one percent reads as all of them.
	c.need(p.MeanLoss() < 1, "loss", p.MeanLoss().String()+" in the mean",
		`less than 100% (one percent is "1%" or "0.01")`)
}

// untouched wants the profile None to ask for nothing: numbers under that name
// would be ignored by every reader.
func (c *checker) untouched(p Profile) {
	const want = `nothing: the profile "none" is the link at full speed`
	c.need(p.Down == 0, "down", p.Down.String(), want)
	c.need(p.Up == 0, "up", p.Up.String(), want)
	c.need(p.RTT == 0, "rtt", p.RTT.String(), want)
	c.need(p.Jitter == 0, "jitter", p.Jitter.String(), want)
	c.need(p.Loss == 0, "loss", p.Loss.String(), want)
	c.need(p.Burst == nil, "burst", "a loss model", want)
	c.need(p.Reorder == 0, "reorder", p.Reorder.String(), want)
	c.need(p.Queue == 0, "queue", strconv.Itoa(p.Queue)+" packets", want)
	c.need(p.MTU == 0, "mtu", strconv.Itoa(p.MTU)+" bytes", want)
}
