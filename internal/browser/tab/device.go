package tab

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/chromedp/cdproto/emulation"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/device"
	"lastmile/internal/scenario"
)

// User is who sits before the browser, as far as pages can tell: on what device, in which language, where.
type User struct {
	device.Device
	Locale   string // a BCP 47 tag
	Timezone string // an IANA name; "" = the machine's
	Place    *scenario.Geolocation
}

// defaultLocale is that of scenarios that name none.
const defaultLocale = "en-US"

// UserOf returns the scenario's user.
func UserOf(sc *scenario.Scenario) (User, error) {
	d, ok := device.Named(sc.Device)
	if !ok {
		return User{}, fmt.Errorf("got device %q, want one of %s", sc.Device, strings.Join(device.Names(), ", "))
	}
	u := User{Device: d, Locale: sc.Locale, Timezone: sc.Timezone, Place: sc.Geolocation}
	if u.Locale == "" {
		u.Locale = defaultLocale
	}
	return u, nil
}

// Languages are those that the user reads, the first best: "de-CH,de".
func (u User) Languages() string {
	language, _, regional := strings.Cut(u.Locale, "-")
	if !regional {
		return u.Locale
	}
	return u.Locale + "," + language
}

// UserAgent is the user agent of the version: see userAgent.
func (u User) UserAgent(version string) string { return u.userAgent(version).UserAgent }

// userAgent is the identity of a plain Chrome of the running version on the device: a backend must not be able to tell the probe
// from a user, or it would be measured answering a robot.
func (u User) userAgent(version string) emulation.SetUserAgentOverrideParams {
	major, _, _ := strings.Cut(version, ".")
	suffix := ""
	if u.Mobile {
		suffix = " Mobile"
	}
	h := u.Hints
	return emulation.SetUserAgentOverrideParams{
		UserAgent: fmt.Sprintf("Mozilla/5.0 (%s) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%s.0.0.0%s Safari/537.36",
			u.System, major, suffix),
		AcceptLanguage: u.Languages(),
		Platform:       u.Platform,
		UserAgentMetadata: &emulation.UserAgentMetadata{
			Brands: brands(major, version, false), FullVersionList: brands(major, version, true),
			Platform: h.Platform, PlatformVersion: h.PlatformVersion, Model: h.Model, Architecture: h.Architecture, Bitness: h.Bitness,
			Mobile: u.Mobile, FormFactors: []string{h.FormFactor},
		},
	}
}

// brands is how Chrome names itself: with a brand that does not exist among the others, whose spelling and place follow from the
// version, so that nobody relies on either (components/embedder_support/user_agent_utils.cc).
func brands(major, version string, full bool) []*emulation.UserAgentBrandVersion {
	var seed int
	if _, err := fmt.Sscan(major, &seed); err != nil || seed < 0 {
		seed = 0
	}
	marks := []string{" ", "(", ":", "-", ".", "/", ")", ";", "=", "?", "_"}
	odd := "Not" + marks[seed%len(marks)] + "A" + marks[(seed+1)%len(marks)] + "Brand"
	oddVersion, own := []string{"8", "99", "24"}[seed%3], major
	if full {
		oddVersion, own = oddVersion+".0.0.0", version
	}
	order := [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}[seed%6]
	out := make([]*emulation.UserAgentBrandVersion, len(order))
	for i, b := range []emulation.UserAgentBrandVersion{
		{Brand: odd, Version: oddVersion}, {Brand: "Chromium", Version: own}, {Brand: "Google Chrome", Version: own},
	} {
		out[order[i]] = &b
	}
	return out
}

// settle tells a target where and how fast it is. What a kind of target does not know it takes from its page, or does not have: the
// place is that of pages and frames alone, and navigator.platform of workers that of this machine.
func (u User) settle(e chromium.Endpoint) {
	chromium.Post(e, emulation.SetLocaleOverride, emulation.SetLocaleOverrideParams{Locale: u.Locale})
	if u.Timezone != "" {
		chromium.Post(e, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: u.Timezone})
	}
	if u.Place != nil {
		accuracy := cmp.Or(u.Place.Accuracy, defaultAccuracy)
		chromium.Post(e, emulation.SetGeolocationOverride, emulation.SetGeolocationOverrideParams{
			Latitude: &u.Place.Latitude, Longitude: &u.Place.Longitude, Accuracy: &accuracy,
		})
	}
	if u.Slowdown > 1 {
		chromium.Post(e, emulation.SetCPUThrottlingRate, emulation.SetCPUThrottlingRateParams{Rate: u.Slowdown})
	}
}

// defaultAccuracy is that of places that name none, in metres.
const defaultAccuracy = 100

// metrics is the screen of the device.
func (u User) metrics() emulation.SetDeviceMetricsOverrideParams {
	return emulation.SetDeviceMetricsOverrideParams{
		Width: int64(u.Width), Height: int64(u.Height), DeviceScaleFactor: u.Scale, Mobile: u.Handheld,
		ScreenWidth: int64(u.Width), ScreenHeight: int64(u.Height),
	}
}

// TouchScreen is one for five fingers, or none.
func TouchScreen(enabled bool) emulation.SetTouchEmulationEnabledParams {
	if !enabled {
		return emulation.SetTouchEmulationEnabledParams{}
	}
	return emulation.SetTouchEmulationEnabledParams{Enabled: true, MaxTouchPoints: 5}
}
