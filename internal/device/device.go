// Package device has the devices that browser steps can emulate, by name, with all that a page can tell of them.
//
// All of them run Chrome: only another engine would be another browser, and there is none in a probe. CPU factors are against the
// processor of the probe, whatever that is.
package device

import "slices"

// Device is what a browser pretends to run on. What it says of itself in its several ways agrees.
type Device struct {
	Name          string
	Width, Height int     // of the page, CSS pixels
	Scale         float64 // device pixels per CSS pixel
	Handheld      bool    // pages are laid out as on a phone or tablet: the viewport meta tag counts, and scroll bars take no room
	Touch         bool
	Slowdown      float64 // how many times slower than this machine; 1 = as fast

	Platform string // navigator.platform
	System   string // the system inside the user agent
	Mobile   bool   // the user agent says Mobile, as phones' do and tablets' do not
	Hints    Hints
}

// Hints are the client hints of a device (https://wicg.github.io/ua-client-hints/), those of its browser aside.
type Hints struct {
	Platform        string
	PlatformVersion string
	Model           string
	Architecture    string
	Bitness         string
	FormFactor      string
}

// Desktop is the device of scenarios that name none.
const Desktop = "desktop"

// Chrome for Android tells every site the same system in its user agent, and the true one in its client hints
// (https://www.chromium.org/updates/ua-reduction/).
const (
	reducedAndroid = "Linux; Android 10; K"
	armPlatform    = "Linux armv81"
)

// all has desktop and moto-g-power as Lighthouse has them (core/config/constants.js), and galaxy-s24 and galaxy-tab-s9 in the sizes of
// Playwright's list (deviceDescriptorsSource.json). Factors: 4 is Lighthouse's for the middle, 6 DevTools' for the low end.
var all = []Device{
	{
		Name: Desktop, Width: 1350, Height: 940, Scale: 1, Slowdown: 1, Platform: "Linux x86_64", System: "X11; Linux x86_64",
		Hints: Hints{Platform: "Linux", Architecture: "x86", Bitness: "64", FormFactor: "Desktop"},
	},
	{
		Name: "moto-g-power", Width: 412, Height: 823, Scale: 1.75, Handheld: true, Touch: true, Slowdown: 4,
		Platform: "Linux armv8l", System: "Linux; Android 11; moto g power (2022)", Mobile: true,
		Hints: Hints{Platform: "Android", PlatformVersion: "11", Model: "moto g power (2022)", FormFactor: "Mobile"},
	},
	{
		Name: "galaxy-s24", Width: 360, Height: 780, Scale: 3, Handheld: true, Touch: true, Slowdown: 2,
		Platform: armPlatform, System: reducedAndroid, Mobile: true,
		Hints: Hints{Platform: "Android", PlatformVersion: "14.0.0", Model: "SM-S921U", FormFactor: "Mobile"},
	},
	{
		Name: "redmi-9a", Width: 360, Height: 800, Scale: 2, Handheld: true, Touch: true, Slowdown: 6,
		Platform: armPlatform, System: reducedAndroid, Mobile: true,
		Hints: Hints{Platform: "Android", PlatformVersion: "11.0.0", Model: "M2006C3LG", FormFactor: "Mobile"},
	},
	{
		Name: "galaxy-tab-s9", Width: 640, Height: 1024, Scale: 2.5, Handheld: true, Touch: true, Slowdown: 2,
		Platform: armPlatform, System: reducedAndroid,
		Hints: Hints{Platform: "Android", PlatformVersion: "14.0.0", Model: "SM-X710", FormFactor: "Tablet"},
	},
}

// Names lists the devices in documentation order.
func Names() []string {
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].Name
	}
	return names
}

// Named returns a device; the empty name is the desktop.
func Named(name string) (Device, bool) {
	if name == "" {
		name = Desktop
	}
	i := slices.IndexFunc(all, func(d Device) bool { return d.Name == name })
	if i < 0 {
		return Device{}, false
	}
	return all[i], true
}
