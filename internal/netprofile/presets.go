package netprofile

import "time"

// PresetVersion is the edition of the preset table. Any change to a number in
// it needs a new one, because results are compared under name and version.
const PresetVersion = "v1"

// The limits of every preset, and of a user's own link that names none.
const (
	// DefaultQueue is the default of both netem and WebPageTest, in packets.
	DefaultQueue = 1000
	// DefaultMTU is Ethernet's, in bytes.
	DefaultMTU = 1500
)

// Presets returns the preset table in its order of presentation: the
// unshaped link, WebPageTest's mobile and fixed links, then the lossy ones.
// The caller owns the result, loss models included.
func Presets() []Profile {
	lossy := link("3g-lossy", "3G with 2 % random loss", "lastmile: WebPageTest 3G with loss", 1600, 768, 300)
	lossy.Loss = 0.02

	veryLossy := link("3g-very-lossy", "3G with 5 % loss in bursts", "lastmile: WebPageTest 3G with Gilbert-Elliott loss", 1600, 768, 300)
	veryLossy.Burst = burstOfFivePercent()

	jitter := link("3g-jitter", "3G with 50 ms of jitter and 0.5 % loss", "after Loadero 3G", 1200, 1200, 250)
	jitter.Jitter, jitter.Loss = 50*time.Millisecond, 0.005

	edgeLossy := link("edge-lossy", "EDGE with 1 % loss", "Facebook Augmented Traffic Control", 240, 200, 840)
	edgeLossy.Loss = 0.01

	rural := link("2g-rural", "2G in the country, 2 % loss", "Facebook Augmented Traffic Control", 20, 18, 1300)
	rural.Loss = 0.02

	return []Profile{
		{Name: None, Version: PresetVersion, Description: "the link at full speed, nothing emulated", Source: "lastmile"},
		link("2g", "2G", "WebPageTest 2G", 280, 256, 800),
		link("edge", "EDGE", "WebPageTest Edge", 240, 200, 840),
		link("3g-slow", "slow 3G", "WebPageTest 3GSlow", 400, 400, 400),
		link("3g", "3G", "WebPageTest 3G", 1600, 768, 300),
		link("3g-fast", "fast 3G", "WebPageTest 3GFast", 1600, 768, 150),
		link("4g", "4G", "WebPageTest 4G", 9000, 9000, 170),
		link("lte", "LTE", "WebPageTest LTE", 12000, 12000, 70),
		link("dsl", "DSL", "WebPageTest DSL", 1500, 384, 50),
		link("cable", "cable modem", "WebPageTest Cable", 5000, 1000, 28),
		lossy,
		veryLossy,
		jitter,
		edgeLossy,
		rural,
		link("satellite", "geostationary satellite", "lastmile", 10000, 2000, 600),
	}
}

// link builds a loss-free preset from the columns of the table: kbit/s,
// kbit/s and milliseconds of full round trip.
func link(name, description, source string, downKbit, upKbit Rate, rttMS int64) Profile {
	return Profile{
		Name:        name,
		Version:     PresetVersion,
		Description: description,
		Source:      source,
		Down:        downKbit * KbitPerSecond,
		Up:          upKbit * KbitPerSecond,
		RTT:         time.Duration(rttMS) * time.Millisecond,
		Queue:       DefaultQueue,
		MTU:         DefaultMTU,
	}
}

// burstOfFivePercent is bad for a tenth of the packets, in spells of 5.6, and
// loses half of those. A bad state that lost everything would be the wrong
// model here: the chain steps per packet, so a sender that has backed off to
// single retransmissions could need minutes to walk out of it.
func burstOfFivePercent() *Burst {
	return &Burst{PGoodToBad: 0.02, PBadToGood: 0.18, LossGood: 0, LossBad: 0.5}
}

// Lookup returns the preset of that name. The caller owns the result.
func Lookup(name string) (Profile, bool) { return Set(Presets()).Lookup(name) }

// Names returns the names of the presets in the order of Presets.
func Names() []string { return Set(Presets()).Names() }
