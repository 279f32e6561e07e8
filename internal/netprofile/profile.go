package netprofile

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// None is the name of the profile that leaves the link at full speed.
const None = "none"

// Profile is one access link, as a packet-level emulator applies it. Results
// are labelled with Name and Version, so two different links never share both.
//
// It travels as JSON with every quantity as text ("1600 kbit/s", "300ms",
// "2%"), and the round trip is exact. Unknown JSON fields are ignored, so that
// programs one version apart understand each other.
type Profile struct {
	// Name is a DNS label, such as "3g-lossy".
	Name string `json:"name"`
	// Version names the edition of the numbers, such as "v1".
	Version string `json:"version"`
	// Description is one sentence for people.
	Description string `json:"description,omitzero"`
	// Source says where the numbers come from.
	Source string `json:"source,omitzero"`

	// Down and Up are the rates towards and from the device, counted on the
	// wire: packets with their framing.
	Down Rate `json:"down,omitzero"`
	Up   Rate `json:"up,omitzero"`
	// RTT is the full round trip that the link adds, half in each direction,
	// before serialisation and queueing.
	RTT time.Duration `json:"-"`
	// Jitter is the largest deviation, up or down, of one packet's delay in
	// one direction from RTT/2.
	Jitter time.Duration `json:"-"`
	// Loss is the chance of each packet, in each direction, to be lost on its
	// own account. Burst, when set, is drawn after it.
	Loss  Ratio  `json:"loss,omitzero"`
	Burst *Burst `json:"burst,omitempty"`
	// Reorder is the share of packets that skip the delay and so overtake
	// others, as netem's option of that name does.
	Reorder Ratio `json:"reorder,omitzero"`
	// Queue is the drop-tail limit of each direction, in packets.
	Queue int `json:"queue,omitzero"`
	// MTU is the largest IP packet, in bytes.
	MTU int `json:"mtu,omitzero"`
}

// Burst is the Gilbert-Elliott model of loss in bursts: a two-state chain that
// steps once per packet and loses packets at a different rate in each state.
type Burst struct {
	// PGoodToBad and PBadToGood are the transition probabilities per packet;
	// a bad spell lasts 1/PBadToGood packets on average.
	PGoodToBad Ratio `json:"p_good_to_bad"`
	PBadToGood Ratio `json:"p_bad_to_good"`
	// LossGood and LossBad are the loss probabilities in the two states.
	LossGood Ratio `json:"loss_good"`
	LossBad  Ratio `json:"loss_bad"`
}

// MeanLoss is the share of packets that the chain loses in the long run. With
// p = PGoodToBad and r = PBadToGood the chain is bad for p/(p+r) of the time,
// and the mean weighs the two losses by that (Hasslinger and Hohlfeld, "The
// Gilbert-Elliott Model for Packet Loss in Real Time Services on the
// Internet", MMB 2008, equation for the error rate p_E). A chain without
// transitions stays in the good state that it starts in.
func (b Burst) MeanLoss() Ratio {
	sum := b.PGoodToBad + b.PBadToGood
	if sum == 0 {
		return b.LossGood
	}
	return (b.PBadToGood*b.LossGood + b.PGoodToBad*b.LossBad) / sum
}

// MeanLoss is the share of packets that one direction of the link loses in the
// long run, random and burst loss together: a packet arrives when it survives
// both, and the two are drawn independently. Queue overflow is not in it.
func (p Profile) MeanLoss() Ratio {
	if p.Burst == nil {
		return p.Loss
	}
	burst := p.Burst.MeanLoss()
	return p.Loss + burst - p.Loss*burst
}

// OneWay is the delay of one direction, without jitter.
func (p Profile) OneWay() time.Duration { return p.RTT / 2 }

// Emulated reports whether a run needs an emulated link. It is false for the
// profile named None only; the zero Profile asks for emulation, and a probe
// that cannot give it then says so instead of measuring at full speed.
func (p Profile) Emulated() bool { return p.Name != None }

// plainProfile has Profile's fields without its methods.
type plainProfile Profile

// wireProfile is Profile as JSON: the durations become text.
type wireProfile struct {
	plainProfile
	RTT    wireDuration `json:"rtt,omitzero"`
	Jitter wireDuration `json:"jitter,omitzero"`
}

// MarshalJSON writes the form that the type's comment describes. A rate or a
// ratio out of its range is an error.
func (p Profile) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireProfile{plainProfile(p), wireDuration(p.RTT), wireDuration(p.Jitter)})
}

// UnmarshalJSON replaces the whole profile; fields absent from data become
// zero. It checks form only: call Validate on what came from outside.
func (p *Profile) UnmarshalJSON(data []byte) error {
	var wire wireProfile
	if err := json.Unmarshal(data, &wire); err != nil {
		return fmt.Errorf("read network profile: %w", err)
	}
	*p = Profile(wire.plainProfile)
	p.RTT, p.Jitter = time.Duration(wire.RTT), time.Duration(wire.Jitter)
	return nil
}

// wireDuration writes a duration as Go does, "300ms", to the nanosecond.
type wireDuration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d wireDuration) MarshalText() ([]byte, error) {
	return []byte(time.Duration(d).String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *wireDuration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf(`read duration: got %s, want a number and a unit, such as "300ms"`, quote(string(text)))
	}
	*d = wireDuration(parsed)
	return nil
}
