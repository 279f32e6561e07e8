package tab

import (
	"fmt"
	"strings"

	"github.com/chromedp/cdproto/emulation"
)

// Device is what Chromium pretends to run on. Both are Lighthouse's (core/config/constants.js).
type Device struct {
	Width, Height int     // CSS pixels
	Scale         float64 // device pixels per CSS pixel
	mobile        bool
	touch         bool
	slowdown      float64 // CPU throttle factor
	platform      string  // as in navigator.platform
	system        string  // inside the user agent
	hints         emulation.UserAgentMetadata
}

// DeviceNamed returns one of scenario.Devices; the empty name is the desktop.
func DeviceNamed(name string) (Device, bool) {
	switch name {
	case "", "desktop":
		return Device{
			Width: 1350, Height: 940, Scale: 1, slowdown: 1, platform: "Linux x86_64", system: "X11; Linux x86_64",
			hints: emulation.UserAgentMetadata{Platform: "Linux", Architecture: "x86", Bitness: "64", FormFactors: []string{"Desktop"}},
		}, true
	case "moto-g-power":
		return Device{
			Width: 412, Height: 823, Scale: 1.75, mobile: true, touch: true, slowdown: 4,
			platform: "Linux armv8l", system: "Linux; Android 11; moto g power (2022)",
			hints: emulation.UserAgentMetadata{
				Platform: "Android", PlatformVersion: "11", Model: "moto g power (2022)", Mobile: true, FormFactors: []string{"Mobile"},
			},
		}, true
	}
	return Device{}, false
}

// userAgent is the identity of a plain Chrome of the running version on the device: a backend must not be able to tell the probe
// from a user, or it would be measured answering a robot.
func (d Device) userAgent(version string) emulation.SetUserAgentOverrideParams {
	major, _, _ := strings.Cut(version, ".")
	suffix := ""
	if d.mobile {
		suffix = " Mobile"
	}
	brands := func(version, other string) []*emulation.UserAgentBrandVersion {
		return []*emulation.UserAgentBrandVersion{
			{Brand: "Chromium", Version: version}, {Brand: "Google Chrome", Version: version}, {Brand: "Not/A)Brand", Version: other},
		}
	}
	hints := d.hints
	hints.Brands, hints.FullVersionList = brands(major, "24"), brands(version, "24.0.0.0")
	return emulation.SetUserAgentOverrideParams{
		UserAgent: fmt.Sprintf("Mozilla/5.0 (%s) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%s.0.0.0%s Safari/537.36",
			d.system, major, suffix),
		AcceptLanguage:    "en-US,en",
		Platform:          d.platform,
		UserAgentMetadata: &hints,
	}
}

// metrics is the screen of the device.
func (d Device) metrics() emulation.SetDeviceMetricsOverrideParams {
	return emulation.SetDeviceMetricsOverrideParams{
		Width: int64(d.Width), Height: int64(d.Height), DeviceScaleFactor: d.Scale, Mobile: d.mobile,
		ScreenWidth: int64(d.Width), ScreenHeight: int64(d.Height),
	}
}

// TouchScreen is one for five fingers, or none.
func TouchScreen(enabled bool) emulation.SetTouchEmulationEnabledParams {
	if !enabled {
		return emulation.SetTouchEmulationEnabledParams{}
	}
	return emulation.SetTouchEmulationEnabledParams{Enabled: true, MaxTouchPoints: 5}
}
