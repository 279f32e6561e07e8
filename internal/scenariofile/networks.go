package scenariofile

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile/document"
)

// networks is the form of the networks file.
type networks struct {
	APIVersion string             `json:"apiVersion"`
	Networks   map[string]network `json:"networks"`
}

// network is one link as its user writes it down. What is nil is the base's, or a default.
type network struct {
	Description string             `json:"description"`
	Source      string             `json:"source"`
	Base        string             `json:"base"`
	Down        *netprofile.Rate   `json:"down"`
	Up          *netprofile.Rate   `json:"up"`
	RTT         *scenario.Duration `json:"rtt"`
	Jitter      *scenario.Duration `json:"jitter"`
	Loss        *netprofile.Ratio  `json:"loss"`
	Burst       *burst             `json:"burst"`
	Reorder     *netprofile.Ratio  `json:"reorder"`
	Queue       *int               `json:"queue"`
	MTU         *int               `json:"mtu"`
}

// burst is the loss in bursts of a network.
type burst struct {
	PGoodToBad *netprofile.Ratio `json:"pGoodToBad"`
	PBadToGood *netprofile.Ratio `json:"pBadToGood"`
	LossGood   *netprofile.Ratio `json:"lossGood"`
	LossBad    *netprofile.Ratio `json:"lossBad"`
}

const (
	wantNetworks = "a mapping from each network's name to its numbers, such as {subway: {down: 700 kbit/s, up: 256 kbit/s, rtt: 400ms, loss: 3%}}"
	wantRate     = `a rate such as "700 kbit/s", or a base that has one`
	wantRTT      = `the full round trip that the link adds, such as "400ms", or a base that has one`
	wantRatio    = `a probability such as "2%"`
)

// LoadNetworks reads a networks file and returns the networks that it defines, in its order. A file that is absent is an error that
// wraps os.ErrNotExist.
func LoadNetworks(path string) (netprofile.Set, error) {
	data, err := readFile("networks", path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read networks: got no file %s, want one with \"apiVersion: %s\" and \"networks:\", %s: %w",
			path, scenario.APIVersion, wantNetworks, os.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return ParseNetworks(path, data)
}

// ParseNetworks decodes and validates the text of a networks file. name is the file's name for the errors, of which document.All gives
// each. The version of a network is netprofile's OwnVersion. What comes with an error is incomplete.
func ParseNetworks(name string, data []byte) (netprofile.Set, error) {
	var file networks
	d := document.Read(name, data, &file)
	if !d.Mapping() {
		return nil, d.Err()
	}
	checkVersion(d, file.APIVersion)
	var set netprofile.Set
	for _, name := range d.Keys("networks") {
		n := file.Networks[name]
		b := builder{Document: d, path: []string{"networks", name}}
		set = append(set, b.build(name, &n))
	}
	if len(set) == 0 {
		d.Problem("no networks", wantNetworks, "networks")
	}
	return set, d.Err()
}

// builder makes the profile of one network and reports what is wrong with it.
type builder struct {
	*document.Document
	path []string
}

// at is the path of a key of the network.
func (b *builder) at(keys ...string) []string { return append(slices.Clone(b.path), keys...) }

// standIn has numbers that make no others wrong. They take the place of those that are not what the file meant, of which there are
// errors already.
func standIn() netprofile.Profile {
	return netprofile.Profile{
		Down: netprofile.MbitPerSecond, Up: netprofile.MbitPerSecond, RTT: time.Minute,
		Queue: netprofile.DefaultQueue, MTU: netprofile.DefaultMTU,
	}
}

func (b *builder) build(name string, n *network) netprofile.Profile {
	p, based := b.base(n.Base)
	p.Name, p.Description, p.Source = name, n.Description, cmp.Or(n.Source, p.Source)
	safe := standIn()
	take(b, n.Down, &p.Down, safe.Down, wantRate, based, "down")
	take(b, n.Up, &p.Up, safe.Up, wantRate, based, "up")
	rtt, jitter := scenario.Duration(p.RTT), scenario.Duration(p.Jitter)
	take(b, n.RTT, &rtt, scenario.Duration(safe.RTT), wantRTT, based, "rtt")
	take(b, n.Jitter, &jitter, 0, "", true, "jitter")
	p.RTT, p.Jitter = rtt.D(), jitter.D()
	take(b, n.Loss, &p.Loss, 0, "", true, "loss")
	p.Burst = b.burst(n.Burst, p.Burst)
	take(b, n.Reorder, &p.Reorder, 0, "", true, "reorder")
	take(b, n.Queue, &p.Queue, safe.Queue, "", true, "queue")
	take(b, n.MTU, &p.MTU, safe.MTU, "", true, "mtu")
	p.Version = p.OwnVersion()
	b.validate(p)
	return p
}

// base returns what the network starts from: a preset, or the defaults, which are no link by themselves.
func (b *builder) base(name string) (p netprofile.Profile, based bool) {
	if name == "" && !b.Failed(b.at("base")...) {
		return netprofile.Profile{Source: NetworksFile, Queue: netprofile.DefaultQueue, MTU: netprofile.DefaultMTU}, false
	}
	if p, ok := netprofile.Lookup(name); ok && p.Emulated() {
		p.Source = NetworksFile + ", from " + name
		return p, true
	}
	bases := slices.DeleteFunc(netprofile.Names(), func(preset string) bool { return preset == netprofile.None })
	want := "a preset with numbers: one of " + strings.Join(bases, ", ")
	if meant := document.Closest(name, bases); meant != "" && name != netprofile.None {
		want = document.DidYouMean(meant)
	}
	b.Problem(strconv.Quote(name), want, b.at("base")...)
	return standIn(), true
}

// take sets a number to what the file gives. One that could not be decoded becomes safe, and so does one that is missing, which is an
// error unless into has a value already.
func take[T any](b *builder, given, into *T, safe T, want string, has bool, keys ...string) {
	path := b.at(keys...)
	switch {
	case b.Failed(path...):
		*into = safe
	case given != nil:
		*into = *given
	case !has:
		*into = safe
		b.Problem("nothing", want, path...)
	}
}

// burst changes the base's loss in bursts, or begins one. Without a base only lossGood may be left out: it is mostly nothing.
func (b *builder) burst(n *burst, base *netprofile.Burst) *netprofile.Burst {
	if b.Failed(b.at("burst")...) {
		return nil
	}
	if n == nil {
		return base
	}
	based := base != nil
	if !based {
		base = &netprofile.Burst{}
	}
	take(b, n.PGoodToBad, &base.PGoodToBad, 0, wantRatio, based, "burst", "pGoodToBad")
	take(b, n.PBadToGood, &base.PBadToGood, 1, wantRatio, based, "burst", "pBadToGood")
	take(b, n.LossGood, &base.LossGood, 0, "", true, "burst", "lossGood")
	take(b, n.LossBad, &base.LossBad, 0, wantRatio, based, "burst", "lossBad")
	return base
}

// validate reports what is wrong with the name, where it stands, and with the numbers.
func (b *builder) validate(p netprofile.Profile) {
	if _, preset := netprofile.Lookup(p.Name); preset {
		own := p.Name + "-own"
		b.KeyProblem(strconv.Quote(p.Name)+", the name of a preset", "a name of its own, such as "+own, b.path...)
		p.Name = own // none is judged by other rules
	}
	for _, problem := range p.Validate() {
		if problem.Field == "name" {
			b.KeyProblem(problem.Got, "a network's name: "+problem.Want, b.path...)
			continue
		}
		b.Problem(problem.Got, problem.Want, b.at(keysOf(problem.Field)...)...)
	}
}

// keysOf turns the path of a profile's field, burst.loss_bad, into the keys of the file, burst and lossBad.
func keysOf(field string) []string {
	keys := strings.Split(field, ".")
	for i, key := range keys {
		words := strings.Split(key, "_")
		for j := 1; j < len(words); j++ {
			words[j] = strings.ToUpper(words[j][:1]) + words[j][1:]
		}
		keys[i] = strings.Join(words, "")
	}
	return keys
}
