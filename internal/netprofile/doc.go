// Package netprofile describes access links: typed rates and ratios, delay,
// jitter, loss models, and the versioned table of named presets.
//
// Every number is meant for a packet-level emulator: a delay that each packet
// waits, a rate that each packet is serialised at. Never copy request-level
// numbers into a Profile (DevTools' "Slow 3G" is 400 kbit/s with 2000 ms, its
// "Fast 3G" has 562 ms): they are inflated to make up for a throttle that
// delays whole requests, and would count every round trip several times over.
// Tables that list half of WebPageTest's delays state one-way times; RTT here
// is the full round trip.
//
// The package is pure: no I/O, no clock, no state.
package netprofile
